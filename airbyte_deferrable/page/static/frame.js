// What is around this page: Airflow's own page if it is shown in a frame, and where links lead.

/** The window of Airflow's own page; null if this page has a tab of its own. */
export const airflow = (() => {
  try {
    // Reading the address throws if the frame is somebody else's.
    return window.parent !== window && window.parent.location.href ? window.parent : null;
  } catch {
    return null;
  }
})();

// This page is <Airflow>/airbyte/page, whatever path Airflow itself is under.
const base = new URL("../", location.href);

/** The address of one of Airflow's own pages, null if the path leads elsewhere. */
export function airflowAddress(path) {
  if (!path) return null;
  const address = new URL(path.replace(/^\/+/, ""), base);
  return address.origin === base.origin ? address.href : null;
}

/** Where to log in, and come back from. */
export function loginAddress() {
  const address = new URL("api/v2/auth/login", base);
  address.searchParams.set("next", (airflow ?? window).location.href);
  return address.href;
}

/** An address that leads to a web page, null for anything else: a script, say. */
export function webAddress(text) {
  if (!text || !URL.canParse(text)) return null;
  const address = new URL(text);
  return ["http:", "https:"].includes(address.protocol) ? address.href : null;
}

/**
 * Let links lead out of the frame. Airflow allows it neither popups nor to change what is around it, so that a link here
 * does nothing; the same link in Airflow's page does what it should.
 */
export function letLinksOut() {
  if (!airflow) return;
  const follow = (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!link || event.defaultPrevented || event.button > 1) return;
    event.preventDefault();
    const outside = airflow.document.createElement("a");
    outside.href = link.href;
    outside.rel = "noopener";
    if (link.target || event.button === 1 || event.ctrlKey || event.metaKey || event.shiftKey) outside.target = "_blank";
    outside.click();
  };
  document.addEventListener("click", follow);
  document.addEventListener("auxclick", follow);
}
