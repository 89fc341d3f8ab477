// The site of docs/: `make site`. The pages are plain Markdown, which a code host shows
// as well; what only the site knows is here and in navigation.json.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type DefaultTheme, type MarkdownRenderer } from "vitepress";

const here = dirname(fileURLToPath(import.meta.url));
const docs = resolve(here, "..");

// Where the repository can be read, up to the path of a file: https://host/owner/name/blob/main.
// Links that leave docs/ lead there; without it they are text.
const repository = process.env.SITE_REPOSITORY?.replace(/\/+$/, "");

type Group = DefaultTheme.SidebarItem;

// Every page has its place in navigation.json, which a Go test holds against the folder;
// decisions are listed from theirs.
function navigation(): Group[] {
  const groups: Group[] = JSON.parse(readFileSync(join(here, "navigation.json"), "utf8"));
  const decisions = readdirSync(join(docs, "adr"))
    .filter((name) => /^\d{4}-.*\.md$/.test(name))
    .sort()
    .map((name) => ({ text: heading(join(docs, "adr", name)), link: `/adr/${name}` }));
  return [...groups, { text: "Decisions", collapsed: true, items: [{ text: "All decisions", link: "/adr/README.md" }, ...decisions] }];
}

function heading(path: string): string {
  const line = readFileSync(path, "utf8").split("\n").find((l) => l.startsWith("# "));
  if (!line) throw new Error(`${path} has no heading`);
  return line.slice(2);
}

// Anchors are those of code hosts, so that a link works in both places.
function slugify(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{M}\p{Nd}\-_ ]/gu, "").replaceAll(" ", "-");
}

// Diagrams are drawn in the browser, by the mermaid of this site (theme/Diagram.vue).
function diagrams(md: MarkdownRenderer) {
  const fence = md.renderer.rules.fence!;
  md.renderer.rules.fence = (tokens, i, options, env, self) => {
    const token = tokens[i];
    if (token.info.trim() !== "mermaid") return fence(tokens, i, options, env, self);
    return `<Diagram source="${encodeURIComponent(token.content)}" />\n`;
  };
}

// Links to what isn't in docs/ work on a code host by themselves. Here they lead to the
// repository, or are text where nobody said where that is.
function outside(md: MarkdownRenderer) {
  md.core.ruler.push("outside", (state) => {
    const folder = posix.dirname(state.env.relativePath ?? "");
    for (const block of state.tokens) {
      let opened = false;
      for (const token of block.children ?? []) {
        if (token.type === "link_close" && opened) {
          opened = false;
          if (!repository) Object.assign(token, { type: "text", tag: "", content: "" });
        }
        if (token.type !== "link_open") continue;
        const href = token.attrGet("href") ?? "";
        if (/^([a-z]+:|#|\/)/.test(href)) continue;
        const path = posix.join("docs", folder, href);
        if (path.startsWith("docs/")) continue;
        opened = true;
        if (repository) token.attrSet("href", `${repository}/${path}`);
        else Object.assign(token, { type: "text", tag: "", content: "" });
      }
    }
  });
}

export default defineConfig({
  lang: "en-GB",
  title: "claude-code-api-service",
  description: "One HTTP API in front of the Claude Code CLI and the Anthropic Messages API",
  base: process.env.SITE_BASE ?? "/",
  outDir: resolve(docs, "../bin/site"),
  cacheDir: join(here, "node_modules/.cache"),
  head: [["link", { rel: "icon", href: "data:," }]],
  markdown: {
    anchor: { slugify },
    attrs: false, // a heading may end with {id}
    config(md) {
      diagrams(md);
      outside(md);
    },
  },
  vite: {
    build: { chunkSizeWarningLimit: 4096 },
    // The modules lie beside this file, where Go doesn't look into them; the pages are above.
    resolve: { alias: [{ find: /^vue(\/server-renderer)?$/, replacement: join(here, "node_modules/vue$1") }] },
  },
  themeConfig: {
    siteTitle: "claude-code-api",
    sidebar: navigation(),
    outline: [2, 3],
    search: { provider: "local", options: { detailedView: true } },
    docFooter: { prev: "Before", next: "Next" },
  },
});
