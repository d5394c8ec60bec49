// Reads pages that have scripts: run in every document before its own. `agentgym.look()` gives the document as HTML in which
// attributes say what the browser alone knows; `accessibility.py` makes text of it.
(() => {
  const MOUSE = new Set([
    'click', 'dblclick', 'mousedown', 'mouseenter', 'mouseover', 'mouseup', 'pointerdown', 'pointerup', 'touchstart',
  ]);
  const DRAGGING = new Set(['mousedown', 'pointerdown', 'touchstart']);
  const CONTROLS = 'a[href], button, input, select, textarea';
  const ROLES = [
    'button', 'checkbox', 'combobox', 'gridcell', 'link', 'menuitem', 'menuitemcheckbox', 'menuitemradio', 'option', 'radio',
    'slider', 'spinbutton', 'switch', 'tab', 'treeitem',
  ].map(role => `[role=${role}]`).join();
  const GRAPHICS = 'circle, ellipse, image, line, path, polygon, polyline, rect, text';
  const PLAIN = 'html, body, form, label, option, optgroup, iframe'; // never controls
  const SILENT = 'script, style, noscript, template, title, link';
  const ICON = 32; // pixels: a drawing up to this size in which nothing listens is an ornament
  const PARTS = [0.5, 0.1, 0.3, 0.7, 0.9].flatMap((x, _, all) => all.map(y => [x, y]));
  const CLEAR = 'rgba(0, 0, 0, 0)';
  const OURS = ['data-node', 'data-value', 'data-focused', 'data-role', 'data-name'];
  const listening = new WeakMap();
  const listen = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (kind, ...rest) {
    if (MOUSE.has(kind) && this instanceof Element) listening.set(this, listening.get(this) || DRAGGING.has(kind));
    return listen.call(this, kind, ...rest);
  };

  let controls = [];
  const words = text => (text || '').split(/\s+/).filter(Boolean).join(' ');
  const box = element => [...element.getClientRects()].find(b => b.width && b.height) || element.getBoundingClientRect();
  const place = element => {
    const b = element.getBoundingClientRect();
    return `${Math.round(b.width)}x${Math.round(b.height)} at ${Math.round(b.x + b.width / 2)},${Math.round(b.y + b.height / 2)}`;
  };
  const clickable = (element, style) =>
    listening.has(element) || element.onclick || element.onmousedown || element.matches(ROLES) || element.tabIndex >= 0 ||
    (style.cursor === 'pointer' && getComputedStyle(element.parentElement).cursor !== 'pointer');
  const painted = (element, style) =>
    !element.childNodes.length && element.clientWidth > 3 && element.clientHeight > 3 &&
    (style.backgroundColor !== CLEAR || style.backgroundImage !== 'none' || style.borderTopWidth !== '0px');
  const colour = (element, style) => {
    if (!element.ownerSVGElement) return (element.style.backgroundColor || style.backgroundColor).replace(CLEAR, '');
    const fill = element.style.fill || element.getAttribute('fill') || style.fill;
    return fill === 'none' ? element.style.stroke || element.getAttribute('stroke') || style.stroke : fill;
  };
  const corners = element => (element.points ? `${element.points.numberOfItems} corners` : '');
  const state = element =>
    ['selected', 'checked', 'expanded', 'pressed'].filter(s => element.getAttribute(`aria-${s}`) === 'true').join(' ');

  // A control as HTML knows them: what it holds now.
  const hold = (element, written) => {
    const kind = element.type || '';
    if (element.matches('a, button') || ['submit', 'button', 'reset', 'image'].includes(kind)) return;
    if (kind === 'checkbox' || kind === 'radio') written.setAttribute('data-value', element.checked ? 'on' : '');
    else if (element.multiple && element.options) {
      if (!element.hasAttribute('role')) written.setAttribute('role', 'listbox');
      written.setAttribute('data-value', [...element.selectedOptions].map(option => words(option.text)).join(', '));
    } else written.setAttribute('data-value', element.value);
  };
  // What only scripts make a control, and what is a picture: role, name, and where it is if that can matter.
  const point = (element, written, style, holds) => {
    const drawn = element.ownerSVGElement || element.matches('canvas') || painted(element, style);
    const role = element.isContentEditable ? 'textbox' : element.getAttribute('role') ||
      (element.matches('a') ? 'link' : element.ownerSVGElement || element.matches('canvas') ? element.localName :
        drawn ? 'box' : 'clickable');
    written.setAttribute('data-role', words(`${role} ${state(element)}`));
    if (element.isContentEditable) written.setAttribute('data-value', element.innerText);
    else if (!holds.has(element)) {
      const named = words(element.innerText ?? element.textContent) || element.getAttribute('aria-label') || element.title ||
        element.classList[0] || element.id;
      const seen = drawn || listening.get(element) || element.onmousedown ? [drawn ? colour(element, style) : '', corners(element), place(element)] : [];
      written.setAttribute('data-name', words([named, ...seen].join(' ')) || role);
    }
  };
  const look = () => {
    const originals = [...document.querySelectorAll('*')], copy = document.documentElement.cloneNode(true);
    const copies = [copy, ...copy.querySelectorAll('*')], holds = new WeakSet(), hidden = new WeakSet(), drawings = new Map();
    const found = [];
    originals.forEach((element, i) => {
      const written = copies[i];
      OURS.forEach(name => written.removeAttribute(name));
      if (hidden.has(element.parentElement)) return void hidden.add(element);
      if (element.matches('head, head *')) return;
      const style = getComputedStyle(element);
      if (style.display === 'none' || element.matches(SILENT)) {
        hidden.add(element);
        return void written.remove();
      }
      written.removeAttribute('hidden');
      if (style.visibility !== 'visible') return void written.setAttribute('hidden', '');
      if (element.matches('svg') && !element.ownerSVGElement) return void drawings.set(element, [written, []]);
      const drawn = element.ownerSVGElement, size = drawn && element.getBoundingClientRect();
      if (drawn ? !element.matches(GRAPHICS) || !(size.width || size.height) : element.type === 'hidden' || element.matches(PLAIN)) return;
      const plain = element.matches(CONTROLS);
      const edited = element.isContentEditable && !element.parentElement.isContentEditable;
      if (plain || drawn || edited || element.matches('canvas') || clickable(element, style) || painted(element, style)) {
        found.push([element, written, style, plain]);
        for (let e = element.parentElement; e && !holds.has(e); e = e.parentElement) holds.add(e);
      }
    });
    return write(copy, found, holds, drawings);
  };
  const write = (copy, found, holds, drawings) => {
    controls = [];
    for (const [element, written, style, plain] of found) {
      const drawing = element.ownerSVGElement && [...drawings.keys()].find(svg => svg.contains(element));
      if (element.ownerSVGElement && !drawing) continue;
      const target = drawing ? document.createElement('span') : written;
      target.setAttribute('data-node', controls.push(element) - 1);
      if (element === document.activeElement) target.setAttribute('data-focused', '');
      if (plain) hold(element, target);
      else point(element, target, style, holds);
      if (drawing) drawings.get(drawing)[1].push(target);
    }
    for (const [drawing, [written, graphics]] of drawings) {
      const size = drawing.getBoundingClientRect();
      const ornament = size.width <= ICON && size.height <= ICON && ![...drawing.querySelectorAll('*')].some(e => listening.has(e));
      const shown = document.createElement('div');
      if (!ornament) shown.append(...graphics);
      written.replaceWith(shown);
    }
    return copy.outerHTML;
  };
  // Where to click a control: the middle of its first part, or another point of it where the middle is covered, scrolled to where
  // it can be seen; null where it is gone.
  const middle = node => {
    const element = controls[node];
    if (!element || !element.isConnected) return null;
    let b = box(element);
    if (b.top < 0 || b.left < 0 || b.bottom > innerHeight || b.right > innerWidth) {
      element.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
      b = box(element);
    }
    if (!b.width || !b.height) return null;
    const points = PARTS.map(([x, y]) => [b.x + b.width * x, b.y + b.height * y]);
    return points.find(([x, y]) => element.contains(document.elementFromPoint(x, y))) || points[0];
  };
  const agentgym = {look, middle, control: node => controls[node]};
  Object.defineProperty(window, 'agentgym', {value: agentgym});
})();
