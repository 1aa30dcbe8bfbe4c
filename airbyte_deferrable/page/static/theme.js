// Airflow's theme, while it lasts and when it changes. No module, and loaded before anything is painted: a page that
// is white for a moment in a dark room is what this is against. Alone in a tab, style.css follows the system instead.
(() => {
  "use strict";
  const COPIED = {
    "--chakra-colors-bg": "--bg",
    "--chakra-colors-bg-subtle": "--bg-subtle",
    "--chakra-colors-bg-muted": "--bg-muted",
    "--chakra-colors-border": "--border",
    "--chakra-colors-border-emphasized": "--border-strong",
    "--chakra-colors-fg": "--fg",
    "--chakra-colors-fg-muted": "--fg-muted",
    "--chakra-colors-fg-info": "--link",
    "--chakra-colors-brand-solid": "--brand",
    "--chakra-fonts-body": "--font",
  };
  const own = document.documentElement;

  function airflowsRoot() {
    try {
      return window.parent === window ? null : window.parent.document.documentElement;
    } catch {
      return null; // in a frame of somebody else's
    }
  }

  const airflows = airflowsRoot();
  if (!airflows) return;

  function follow() {
    const theme = ["dark", "light"].find((name) => airflows.classList.contains(name));
    if (!theme) {
      delete own.dataset.theme;
      for (const name of Object.values(COPIED)) own.style.removeProperty(name);
      return;
    }
    own.dataset.theme = theme;
    const style = getComputedStyle(airflows);
    for (const [theirs, name] of Object.entries(COPIED)) {
      const value = style.getPropertyValue(theirs).trim();
      if (value) own.style.setProperty(name, value);
      else own.style.removeProperty(name);
    }
  }

  follow();
  new MutationObserver(follow).observe(airflows, { attributes: true, attributeFilter: ["class", "style"] });
})();
