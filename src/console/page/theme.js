// A classic script, so that the theme stands before the first paint.
(() => {
  const KEY = "cowlog.theme";
  const read = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  apply(read());
  globalThis.cowlogTheme = {
    current: () => document.documentElement.dataset.theme ?? "system",
    set(theme) {
      apply(theme);
      try { localStorage.setItem(KEY, theme); } catch { /* It then holds for this page. */ }
    },
  };
})();
