// What unfold's attributes name, for Alpine.js built for pages that evaluate nothing (unfold/js/alpine/alpine.js): it
// finds in a component's data alone what its usual build finds in the whole window.
document.addEventListener("alpine:init", () => {
  const SIDEBAR = "sidebarDesktopOpen";
  const { pathname, search } = window.location;

  // of <html>: unfold's theme, and the page's address, which forms with tabs send themselves to
  Alpine.data("theme", (initial) => ({ ...theme(initial), window: { location: { pathname, search } } }));

  // of <body>
  Alpine.data("page", (firstTab) => ({
    activeTab: firstTab && (getCurrentTab() || firstTab),
    sidebarMobileOpen: false,
    sidebarDesktopOpen: localStorage.getItem(SIDEBAR) !== "0",
    toggleSidebar() {
      this.sidebarDesktopOpen = !this.sidebarDesktopOpen;
      localStorage.setItem(SIDEBAR, this.sidebarDesktopOpen ? "1" : "0");
    },
  }));

  Alpine.data("searchForm", () => searchForm());
});
