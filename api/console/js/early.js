// Before the first paint: the remembered language and theme, so that nothing flashes.
(() => {
  const read = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const theme = read("il.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  document.documentElement.lang = read("il.lang") === "en" ? "en" : "zh-CN";
})();
