package architecture_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// docs is where the pages are.
const docs = root + "/docs"

// page is a Markdown file: what it links to, and what can be linked to in it.
type page struct {
	links   []link
	anchors map[string]bool
}

type link struct {
	target string
	line   int
}

var (
	isLink     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	isCode     = regexp.MustCompile("`[^`]*`")
	isHeading  = regexp.MustCompile(`^#{1,6} +(.*?) *$`)
	isEmphasis = regexp.MustCompile(`\*+`)
)

// readPage reads what a page has outside its blocks of code.
func readPage(text string) page {
	p := page{anchors: map[string]bool{}}
	fence, number := "", 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\n")
		start := strings.TrimLeft(line, " ")
		switch {
		case fence != "":
			if strings.HasPrefix(start, fence) {
				fence = ""
			}
			continue
		case strings.HasPrefix(start, "```"):
			fence = start[:len(start)-len(strings.TrimLeft(start, "`"))]
			continue
		}
		if heading := isHeading.FindStringSubmatch(line); heading != nil {
			p.heading(heading[1])
		}
		for _, found := range isLink.FindAllStringSubmatch(isCode.ReplaceAllString(line, "`"), -1) {
			p.links = append(p.links, link{found[1], number})
		}
	}
	return p
}

// heading adds the anchor of a heading as code hosts make it, and as the site is told
// to: a second one of the same name has -1 behind it.
func (p *page) heading(text string) {
	slug := slugOf(text)
	for n, name := 1, slug; ; n++ {
		if !p.anchors[name] {
			p.anchors[name] = true
			return
		}
		name = fmt.Sprintf("%s-%d", slug, n)
	}
}

func slugOf(heading string) string {
	text := isLink.ReplaceAllString(heading, "]")
	text = isEmphasis.ReplaceAllString(text, "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}

// pages reads every page of the repository, by its path from the root.
func pages(t *testing.T) map[string]page {
	t.Helper()
	found := map[string]page{}
	for _, folder := range []string{".", "docs", "examples", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(file string, entry fs.DirEntry, err error) error {
			switch {
			case os.IsNotExist(err) && entry == nil:
				return nil
			case err != nil:
				return err
			case entry.IsDir():
				if folder == "." && filepath.Clean(file) != filepath.Clean(root) || entry.Name() == "node_modules" || entry.Name() == ".vitepress" {
					return fs.SkipDir
				}
				return nil
			case filepath.Ext(file) != ".md":
				return nil
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, file)
			found[filepath.ToSlash(name)] = readPage(string(text))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// broken says what is wrong with a link of a page, "" when nothing is. What leads to
// other hosts isn't looked at.
func broken(all map[string]page, from, target string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return ""
	}
	name, anchor, anchored := strings.Cut(target, "#")
	if path.IsAbs(name) {
		return "it begins at the root, which is another one on a code host"
	}
	file := from
	if name != "" {
		file = path.Join(path.Dir(from), name)
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(file))); err != nil || strings.HasPrefix(file, "..") {
			return "there is no such file"
		}
	}
	to, isPage := all[file]
	if anchored && (!isPage || !to.anchors[anchor]) {
		return "there is no such heading"
	}
	return ""
}

// TestLinks follows every link between pages, and to files of the repository.
func TestLinks(t *testing.T) {
	all := pages(t)
	count := 0
	for name, p := range all {
		for _, l := range p.links {
			count++
			if why := broken(all, name, l.target); why != "" {
				t.Errorf("%s:%d: %s: %s", name, l.line, l.target, why)
			}
		}
	}
	if count < 200 {
		t.Errorf("only %d links were found in %d pages", count, len(all))
	}
}

func TestBroken(t *testing.T) {
	all := map[string]page{
		"docs/a.md":  readPage("# One `two`, three\n## Same\n## Same\n```sh\n# none\n[x](nowhere)\n```\n[x](b.md) `[y](z)` [z](https://h/)\n"),
		"README.md":  readPage("# Top_1\n"),
		"docs/tasks": {},
	}
	if a := all["docs/a.md"]; !slices.Equal(a.links, []link{{"b.md", 8}, {"https://h/", 8}}) || len(a.anchors) != 3 {
		t.Errorf("%+v", a)
	}
	for target, want := range map[string]bool{
		"#one-two-three": false, "#same": false, "#same-1": false, "#same-2": true, "#none": true,
		"../README.md#top_1": false, "../README.md#top": true, "../README.md": false,
		"nowhere.md": true, "../../x": true, "/docs/tasks.md": true, "https://example.com/": false,
		"../go.mod": false, "../go.mod#x": true, "../internal/architecture": false,
	} {
		if why := broken(all, "docs/a.md", target); (why != "") != want {
			t.Errorf("%s: %q", target, why)
		}
	}
}

// TestNavigation holds the site's navigation against the pages: each is in it once.
func TestNavigation(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(docs, ".vitepress", "navigation.json"))
	if err != nil {
		t.Fatal(err)
	}
	type item struct {
		Text, Link string
		Items      []item
		Collapsed  bool
	}
	var groups []item
	if err := json.Unmarshal(data, &groups); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	var visit func(items []item)
	visit = func(items []item) {
		for _, i := range items {
			visit(i.Items)
			if i.Text == "" || i.Link == "" && i.Items == nil || listed[i.Link] {
				t.Errorf("%+v has no text or no link, or is listed twice", i)
			}
			if i.Link != "" {
				listed[i.Link] = true
			}
		}
	}
	visit(groups)
	for name := range pages(t) {
		link, ours := strings.CutPrefix(name, "docs")
		if !ours || strings.HasPrefix(link, "/adr/") {
			continue // decisions are listed from their folder
		}
		if !listed[link] {
			t.Errorf("%s isn't in the navigation: add it to docs/.vitepress/navigation.json", name)
		}
		delete(listed, link)
	}
	for link := range listed {
		t.Errorf("the navigation has %s, which doesn't exist", link)
	}
}

// TestDecisionsAreListed holds the list of decisions against their folder.
func TestDecisionsAreListed(t *testing.T) {
	all := pages(t)
	listed := map[string]bool{}
	for _, l := range all["docs/adr/README.md"].links {
		listed["docs/adr/"+l.target] = true
	}
	for name := range all {
		if path.Dir(name) == "docs/adr" && name != "docs/adr/README.md" && !listed[name] {
			t.Errorf("docs/adr/README.md doesn't list %s", name)
		}
	}
}

// TestSnippets: what README and the first page show of a program is in one that a test
// runs.
func TestSnippets(t *testing.T) {
	var programs []string
	for _, pattern := range []string{"examples/*/*", "examples/go/*/*.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || files == nil {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil { // folders aside
				programs = append(programs, string(text))
			}
		}
	}
	found := 0
	for _, name := range []string{"README.md", "docs/get-started.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range isSnippet.FindAllStringSubmatch(string(text), -1) {
			found++
			// Between its parts a snippet may leave something out.
			for part := range strings.SplitSeq(block[1], "\n\n") {
				if !slices.ContainsFunc(programs, func(program string) bool { return strings.Contains(program, strings.Trim(part, "\n")) }) {
					t.Errorf("%s has what no program of examples has:\n%s", name, part)
				}
			}
		}
	}
	if found < 3 {
		t.Errorf("%d snippets were found", found)
	}
}

var isSnippet = regexp.MustCompile("(?s)```(?:python|js|go)\n(.*?)```")

// TestFigures: README and the site's first page have the same figures.
func TestFigures(t *testing.T) {
	var figures []string
	for _, name := range []string{"README.md", "docs/index.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "<!-- figures -->")
		table, _, closed := strings.Cut(rest, "<!-- /figures -->")
		if !closed || !strings.Contains(table, "| a request through the warm CLI |") {
			t.Fatalf("%s has no figures", name)
		}
		figures = append(figures, table)
	}
	if figures[0] != figures[1] {
		t.Errorf("README has the figures\n%s\ndocs/index.md\n%s", figures[0], figures[1])
	}
}
