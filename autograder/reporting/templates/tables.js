// Applies DataTables to the tables of the class's page. Without it they are all there, in one order.
const options = {
  autoWidth: false,
  order: [],
  columnDefs: [{ targets: ".up", orderSequence: ["desc", "asc", ""] }], // ✗ first
  pageLength: 50,
  lengthMenu: [15, 50, 200, { label: "all", value: -1 }],
  layout: { topStart: "search", topEnd: null, bottomStart: "info", bottomEnd: ["pageLength", "paging"] },
  language: { search: "", searchPlaceholder: "search", info: "_START_ to _END_ of _TOTAL_", lengthMenu: "_MENU_ a page" },
};
const bare = { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null };
const shown = [];
const apply = (table) => {
  const few = table.tBodies[0].rows.length <= 15;
  shown.push(new DataTable(table, few ? { ...options, layout: bare } : options));
};

for (const table of document.querySelectorAll("table.sortable")) {
  const fold = table.closest("details:not([open])");
  if (fold) fold.addEventListener("toggle", () => apply(table), { once: true });
  else apply(table);
}
addEventListener("beforeprint", () => shown.forEach((table) => table.page.len(-1).draw()));
