//! The live page in a real browser: it lives, it steers, and it comes back.

use crate::http::browser::Browser;
use crate::http::{TOKEN, Watched};
use crate::orders::place::Place;
use crate::support::proxy::Proxy;

/// Rows that the page shows as copied.
const ROWS: &str = "[...document.querySelectorAll('#progress dt')].find(e => e.textContent === 'rows').nextSibling.textContent";

/// The least contrast of text and what is behind it (WCAG 2, AA).
const CONTRAST: f64 = 4.5;

/// The least contrast of any text on the page, and whose it is.
const LEAST_CONTRAST: &str = "(() => {
    const light = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const of = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
        return 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b); };
    const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
    let least = [99, ''];
    for (const e of document.querySelectorAll('body *')) {
        if (e.closest('svg') || !e.checkVisibility() || e.disabled || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
        const [a, b] = [of(getComputedStyle(e).color), of(behind(e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < least[0]) least = [ratio, e.outerHTML.slice(0, 200)];
    }
    return least;
})()";

/// Fields without a label, and elements that stick out to the right.
const UNLABELLED: &str = "[...document.querySelectorAll('input, progress, svg[role=img]')].filter(e => !e.labels?.length && !e.getAttribute('aria-label')).map(e => e.outerHTML)";
const STICKS_OUT: &str = "document.documentElement.scrollWidth > innerWidth";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lives_steers_and_comes_back() {
    for place in Place::all().await {
        let watched = Watched::new();
        let mut run = place.slow(&watched.flags()).await;
        let proxy = Proxy::before(watched.port);
        let mut page = Browser::start();
        page.look(1280, false);
        page.open(&format!("http://127.0.0.1:{}/", proxy.port()));

        // It lives, without being loaded again.
        page.value("window.same = true");
        let before = page.text(ROWS);
        page.until(&format!("{ROWS} !== {before:?}"));
        assert_eq!(page.value("same"), true);

        // The network is cut, and is back.
        proxy.down();
        page.until("!document.getElementById('lost').hidden");
        page.complaints.clear();
        proxy.up();
        page.until("document.getElementById('lost').hidden");
        let before = page.text(ROWS);
        page.until(&format!("{ROWS} !== {before:?}"));
        assert_eq!(page.value("same"), true, "it came back by itself");

        // Orders: without the token, with a wrong one, with the right one.
        page.click("button[data-verb=pause]");
        page.until("document.getElementById('answer').textContent.includes('needs the token')");
        page.type_into("#token", "not-the-token-at-all");
        page.click("button[data-verb=pause]");
        page.until("document.getElementById('answer').textContent.includes('needs the token')");
        assert!(place.answers().await.is_empty());
        page.complaints.retain(|complaint| !complaint.contains("401"));
        page.type_into("#token", TOKEN);
        page.type_into("#why", "peak <b>hours</b>");
        page.type_into("#by", "ann");
        page.click("button[data-verb=pause]");
        page.until("document.getElementById('answer').textContent.includes('accepted: the copy is paused')");
        page.until("document.querySelector('h1 .state').textContent === 'paused'");
        page.until("document.getElementById('orders').textContent.includes('peak <b>hours</b>')");
        page.until("document.getElementById('holds').textContent.includes('osc resume')");
        assert_eq!(
            page.value("document.cookie + localStorage.length + sessionStorage.length"),
            "00"
        );
        page.type_into("#set", "max_rows_per_second=400");
        page.click("button[data-verb=set]");
        page.until(
            "document.getElementById('answer').textContent.includes('max_rows_per_second is 400')",
        );
        page.click("button[data-verb=resume]");
        page.until("document.querySelector('h1 .state').textContent === 'running'");

        // osc is killed; the same command resumes the run on the same port, and the page with it.
        run.kill();
        page.until("!document.getElementById('lost').hidden");
        page.complaints.clear();
        let again = [&watched.flags()[..], &["--hold"]].concat();
        run = place.run(&again);
        page.until("document.getElementById('lost').hidden");
        page.until("document.querySelector('h1 .state').textContent === 'holding'");
        assert_eq!(page.value("same"), true);

        // What is dangerous asks for the table's name.
        page.click("button[data-verb=cut-over]");
        page.until("document.getElementById('confirm').open");
        page.type_into("#typed", "another");
        assert_eq!(page.value("document.getElementById('sure').disabled"), true);
        page.type_into("#typed", &place.table());
        page.until("!document.getElementById('sure').disabled");
        page.click("#sure");
        page.until(
            "document.getElementById('answer').textContent.includes('the cut-over is permitted')",
        );
        page.until("document.getElementById('progress').textContent.includes('The run has ended')");
        run.done().await;
        assert!(place.is_changed().await, "{}", place.name());
        page.complaints.retain(|complaint| !complaint.contains("ERR_"));
        assert!(page.complaints.is_empty(), "{:#?}", page.complaints);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_whole_on_a_phone_in_the_dark_and_without_a_script() {
    let [place, ..] = Place::all().await;
    let watched = Watched::new();
    let run = place.slow(&watched.flags()).await;
    place.order(&[
        "pause",
        "t",
        "--why",
        "peak hours, when nobody wants a copy to take a part of the server",
    ]);
    place.order(&["resume", "t"]);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let url = format!("http://127.0.0.1:{}/", watched.port);
    let mut page = Browser::start();
    for (width, name) in [(1280, "desktop"), (390, "phone")] {
        for (dark, scheme) in [(false, "light"), (true, "dark")] {
            page.look(width, dark);
            page.open(&url);
            page.until("document.querySelectorAll('.plots polyline').length > 3");
            assert_eq!(page.value(STICKS_OUT), false, "{name} {scheme}");
            assert_eq!(page.value(UNLABELLED), serde_json::json!([]), "{name}");
            let least = page.value(LEAST_CONTRAST);
            assert!(least[0].as_f64().unwrap() >= CONTRAST, "{name} {scheme}: {least}");
            page.picture(&format!("{name}-{scheme}"));
        }
    }
    // Everything that it has comes from osc.
    let loaded = page.value("performance.getEntriesByType('resource').map(e => e.name)");
    let foreign = |name: &serde_json::Value| !name.as_str().unwrap().starts_with(&url);
    assert!(!loaded.as_array().unwrap().iter().any(foreign), "{loaded}");
    assert_eq!(page.value("document.documentElement.lang"), "en");
    assert!(page.complaints.is_empty(), "{:#?}", page.complaints);

    page.without_script(true);
    page.look(390, false);
    page.open(&url);
    let before = page.text(ROWS);
    page.picture("phone-without-script");
    // It loads itself again.
    page.until(&format!("{ROWS} !== {before:?}"));
    run.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_page_can_neither_read_nor_steer() {
    let [place, ..] = Place::all().await;
    let watched = Watched::new();
    let run = place.slow(&watched.flags()).await;
    let mut page = Browser::start();
    page.open("about:blank");
    for path in ["status", "metrics", "events", ""] {
        let read = format!(
            "fetch('http://127.0.0.1:{}/{path}').then(() => 'read', () => 'refused')",
            watched.port
        );
        assert_eq!(page.text(&read), "refused", "{path}");
    }
    for (mode, kind) in [("cors", "application/json"), ("no-cors", "text/plain")] {
        let send = format!(
            "fetch('http://127.0.0.1:{}/orders', {{method: 'POST', mode: '{mode}', body: '{{\"verb\":\"abort\"}}', \
             headers: {{'Content-Type': '{kind}', 'Authorization': 'Bearer {TOKEN}'}}}}).then(a => a.type, () => 'refused')",
            watched.port
        );
        let sent = page.text(&send);
        assert!(["refused", "opaque"].contains(&sent.as_str()), "{sent}");
    }
    assert!(place.answers().await.is_empty());
    assert_eq!(watched.status()["runs"][0]["state"], "running");
    run.kill();
}
