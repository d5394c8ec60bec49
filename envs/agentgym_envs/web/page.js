// Act on an element of the page, then write the page down as HTML into which stands what the browser alone knows.
// `window.agentgym` keeps the controls by the numbers that they were written down with. Gives null where one is gone.
async ([action, node, value, leaves]) => {
  const element = node === null ? null : (window.agentgym || [])[node];
  if (element === undefined) return null;
  const changed = (one) => ['input', 'change'].forEach((name) => one.dispatchEvent(new Event(name, {bubbles: true})));
  const hold = (one, held) => {
    if (one.type === 'checkbox' || one.type === 'radio') one.checked = held !== '';
    else one.value = held;
    changed(one);
  };
  if (action === 'restore') value.forEach(([number, held]) => hold(window.agentgym[number], held));
  if (element && !leaves) element.focus();  // where another page comes, it would only have this one laid out
  if (action === 'click') {
    element.click();
    if (['text', 'search', 'password', 'textarea'].includes(element.type)) element.selectionStart = element.value.length;
  }
  if (action === 'hold') hold(element, value);
  if (leaves) return [];  // another page is on its way

  if (document.readyState === 'loading') {
    await new Promise((done) => document.addEventListener('DOMContentLoaded', done, {once: true}));
  }
  const copy = document.documentElement.cloneNode(true);
  const copies = [...copy.getElementsByTagName('*')], controls = [];  // arrays: lists that are alive are counted anew
  [...document.documentElement.getElementsByTagName('*')].forEach((one, i) => {
    const kind = one.type || '', written = copies[i];
    if (kind === 'hidden') return;
    const style = getComputedStyle(one);
    if (style.display === 'none' || style.visibility !== 'visible') written.setAttribute('hidden', '');
    if (!one.matches('a[href], button, input, select, textarea')) return;
    written.setAttribute('data-node', controls.push(one) - 1);
    if (one === document.activeElement) written.setAttribute('data-focused', '');
    if (one.matches('a, button') || ['submit', 'button', 'reset', 'image'].includes(kind)) return;
    const box = kind === 'checkbox' || kind === 'radio';
    written.setAttribute('data-value', box ? (one.checked ? 'on' : '') : one.value);
  });
  copy.querySelectorAll('style, script').forEach((one) => one.remove());
  window.agentgym = controls;
  const [visit] = performance.getEntriesByType('navigation');
  return [visit ? visit.responseStatus : 0, location.href, copy.outerHTML];
}
