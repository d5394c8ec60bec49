// A page's clock that stands still: only `agentgymClock.pass` lets time pass. Timers run in their order, as if in real time.
(() => {
  const START = Date.UTC(2025, 0, 1, 12), FRAME = 16, Real = Date, report = console.error;
  const timers = new Map();
  let now = START, last = 0;
  const restart = () => {
    timers.clear();
    now = START;
  };
  const later = (call, wait, every, args) => {
    const pause = Math.max(1, Number(wait) || 0); // so that no chain of timers holds the clock
    timers.set(++last, {call, at: now + pause, every: every ? pause : 0, args});
    return last;
  };
  const forget = id => void timers.delete(id);
  const next = end => {
    let found;
    for (const [id, timer] of timers) if (timer.at <= end && (!found || timer.at < found[1].at)) found = [id, timer];
    return found;
  };
  const pass = milliseconds => {
    const end = now + milliseconds;
    for (let due = next(end); due; due = next(end)) {
      const [id, timer] = due;
      now = Math.max(now, timer.at);
      if (timer.every) timer.at += timer.every;
      else timers.delete(id);
      try {
        timer.call(...timer.args);
      } catch (error) {
        report(error);
      }
    }
    now = end;
  };
  window.setTimeout = (call, wait, ...args) => later(call, wait, false, args);
  window.setInterval = (call, wait, ...args) => later(call, wait, true, args);
  window.clearTimeout = window.clearInterval = window.cancelAnimationFrame = forget;
  window.requestAnimationFrame = call => later(() => call(now - START), FRAME, false, []);
  performance.now = () => now - START;
  window.Date = new Proxy(Real, {
    construct: (target, args, type) => Reflect.construct(target, args.length ? args : [now], type),
    apply: () => new Real(now).toString(),
    get: (target, name) => (name === 'now' ? () => now : Reflect.get(target, name)),
  });
  Object.defineProperty(window, 'agentgymClock', {value: {pass, restart}});
})();
