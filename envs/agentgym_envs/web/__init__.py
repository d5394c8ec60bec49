"""Web environments: sites of our own, pages as accessibility text, with a browser or without.

::

    site.py           a site: an ASGI application whose sessions are SQLite databases, to be saved and loaded as values
    shop/             the shop: catalogue, pages, goals, and `web/Shop-v0`
    booking/          the booking desk: rooms, pages, goals, and `web/Booking-v0`
    errand.py         what both environments share: something is to be got from a site
    worth.py          ... and what is got is worth
    attacks.py        pages that carry instructions of others
    norms.py          requests that are to be declined
    accessibility.py  HTML -> a page as text with numbered controls; one reader for both back ends
    backend.py        what a back end has to do
    text.py           ... without a browser: the application is called in this process
    browser.py        ... with headless Chromium by Playwright; `page.js` runs in its pages
    hosts.py          which hosts a browser may reach
    tab.py            a tab on pages that have scripts (tab.js reads them, clock.js is a clock that stands still)
    live.py           environments on such pages: coordinates, dragging, states returned to by doing the same again
    miniwob.py        `web/MiniWoB-v0`
    any_site.py       `web/Browser-v0`: tasks of your own on any site
    env.py            the environment that all sites share: actions are tools, states can be returned to
"""
