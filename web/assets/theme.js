// Sets the theme before anything is drawn. Without a choice the system decides.
(function () {
  "use strict";
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch (_) { /* no storage: the system decides */ }
})();
