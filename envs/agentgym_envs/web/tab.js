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
      const dragged = listening.get(element) || element.onmousedown;
      const seen = drawn ? [colour(element, style), corners(element)] : [];
      if (drawn || dragged) seen.push(place(element));
      written.setAttribute('data-name', words([named, ...seen].join(' ')) || role);
    }
  };
  const ornament = svg => {
    const b = svg.getBoundingClientRect();
    return svg.closest(CONTROLS) ||
      (b.width <= ICON && b.height <= ICON && ![...svg.querySelectorAll('*')].some(e => listening.has(e)));
  };
  // Whether an element that is shown can be acted on, or is a picture.
  const counts = (element, style) => {
    if (element.ownerSVGElement) {
      const b = element.getBoundingClientRect();
      return element.matches(GRAPHICS) && (b.width || b.height);
    }
    if (element.type === 'hidden' || element.matches(PLAIN)) return false;
    return element.matches(CONTROLS) || element.matches('canvas') || clickable(element, style) || painted(element, style) ||
      (element.isContentEditable && !element.parentElement.isContentEditable);
  };
  const look = () => {
    const originals = [...document.querySelectorAll('*')], copy = document.documentElement.cloneNode(true);
    const copies = [copy, ...copy.querySelectorAll('*')], hidden = new WeakSet(), holds = new WeakSet();
    const found = [], drawings = new Map(); // drawings: what stands for them in the copy
    originals.forEach((element, i) => {
      const written = copies[i];
      OURS.forEach(name => written.removeAttribute(name));
      if (hidden.has(element.parentElement)) return void hidden.add(element);
      if (element.matches('head, head *')) return;
      const style = getComputedStyle(element), svg = element.matches('svg') && !element.ownerSVGElement;
      if (style.display === 'none' || element.matches(SILENT) || (svg && ornament(element))) {
        hidden.add(element);
        return void written.remove();
      }
      written.removeAttribute('hidden');
      if (style.visibility !== 'visible') return void written.setAttribute('hidden', '');
      if (svg) {
        drawings.set(element, document.createElement('div'));
        written.replaceWith(drawings.get(element));
      } else if (counts(element, style)) {
        found.push([element, written, style]);
        for (let e = element.parentElement; e && !holds.has(e); e = e.parentElement) holds.add(e);
      }
    });
    controls = [];
    for (const [element, written, style] of found) {
      const drawing = element.ownerSVGElement && drawings.get(element.ownerSVGElement);
      if (element.ownerSVGElement && !drawing) continue; // a drawing in a drawing
      const target = drawing ? drawing.appendChild(document.createElement('span')) : written;
      target.setAttribute('data-node', controls.push(element) - 1);
      if (element === document.activeElement) target.setAttribute('data-focused', '');
      if (element.matches(CONTROLS)) hold(element, target);
      else point(element, target, style, holds);
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
