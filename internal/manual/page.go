package manual

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"
)

// Section is a part of the program's own page that no model knows of.
type Section struct {
	Title string
	// Terms are its entries: what, and what is to be said of it.
	Terms [][2]string
}

// Book is what the pages are made of.
type Book struct {
	App     *kong.Application
	Version string
	Date    time.Time // of the version; zero: none is shown
	// Sections stand at the end of the program's own page.
	Sections []Section
}

// Page is a man page in section 1.
type Page struct {
	Name string // as in claude-api-keys; its file is Name.1
	Text string // for man(7), in ASCII
}

// Pages gives a page of the program and one of each of its commands.
func (b Book) Pages() []Page {
	pages := []Page{b.program()}
	for _, command := range visible(b.App.Node) {
		pages = append(pages, b.command(command))
	}
	return pages
}

func visible(n *kong.Node) []*kong.Node {
	return slices.DeleteFunc(slices.Clone(n.Children), func(c *kong.Node) bool { return c.Hidden || c.Type != kong.CommandNode })
}

func (b Book) program() Page {
	p := &page{}
	p.head(b, b.App.Name)
	p.section("NAME")
	p.text(b.App.Name + " - " + lower(b.App.Help))
	p.section("SYNOPSIS")
	p.request("B", b.App.Name)
	p.text("[flags] command ...")
	p.section("COMMANDS")
	for _, c := range visible(b.App.Node) {
		p.term(bold(c.Name) + ", see " + bold(b.App.Name+"-"+c.Name) + "(1)")
		p.text(c.Help)
	}
	p.flags("OPTIONS", b.App.Node)
	for _, s := range b.Sections {
		p.section(strings.ToUpper(s.Title))
		for _, t := range s.Terms {
			p.term(bold(t[0]))
			p.text(t[1])
		}
	}
	p.section("SEE ALSO")
	p.also(b.App.Name, visible(b.App.Node))
	return Page{b.App.Name, p.String()}
}

func (b Book) command(c *kong.Node) Page {
	name := b.App.Name + "-" + c.Name
	p := &page{}
	p.head(b, name)
	p.section("NAME")
	p.text(name + " - " + lower(c.Help))
	leaves := []*kong.Node{c}
	if len(c.Children) > 0 {
		leaves = slices.DeleteFunc(c.Leaves(true), func(n *kong.Node) bool { return n.Type != kong.CommandNode })
	}
	p.section("SYNOPSIS")
	for i, leaf := range leaves {
		if i > 0 {
			p.request("br")
		}
		p.synopsis(leaf)
	}
	if c.Detail != "" {
		p.section("DESCRIPTION")
		p.text(c.Detail)
	}
	if len(c.Children) == 0 {
		p.arguments(c)
		p.flags("OPTIONS", c)
	} else {
		p.section("COMMANDS")
		for _, leaf := range leaves {
			p.request("SS", leaf.FullPath())
			p.text(leaf.Help)
			if leaf.Detail != "" {
				p.request("PP")
				p.text(leaf.Detail)
			}
			p.arguments(leaf)
			p.flags("", leaf)
		}
	}
	p.section("SEE ALSO")
	p.also(b.App.Name, nil)
	return Page{name, p.String()}
}

// page writes roff with the macros of man(7).
type page struct{ strings.Builder }

func (p *page) head(b Book, name string) {
	date := ""
	if !b.Date.IsZero() {
		date = b.Date.UTC().Format(time.DateOnly)
	}
	// The date is for programs too: it isn't escaped.
	p.WriteString(`.TH "` + escape(strings.ToUpper(name)) + `" 1 "` + date + `" "` + escape(b.App.Name+" "+b.Version) + `" "User Commands"` + "\n")
	p.request("ad", "l") // names of flags and variables are long: no gaps between words
	p.request("nh")
}

// request writes a line that begins with a macro. Its words are texts.
func (p *page) request(macro string, words ...string) {
	p.WriteString("." + macro)
	for _, w := range words {
		w = escape(w)
		if w == "" || strings.ContainsAny(w, " ") {
			w = `"` + strings.ReplaceAll(w, `"`, `\(dq`) + `"`
		}
		p.WriteString(" " + w)
	}
	p.WriteByte('\n')
}

func (p *page) section(title string) { p.request("SH", title) }

// text writes what is filled into lines. Empty lines part paragraphs.
func (p *page) text(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			p.request("PP")
			continue
		}
		p.WriteString(escape(line) + "\n")
	}
}

// term begins an entry of a list. Its text is roff.
func (p *page) term(text string) { p.WriteString(".TP\n" + text + "\n") }

func (p *page) synopsis(n *kong.Node) {
	p.request("B", n.FullPath())
	rest := "[flags]"
	for _, a := range n.Positional {
		rest += " " + a.Summary()
	}
	p.text(rest)
}

func (p *page) also(name string, commands []*kong.Node) {
	if len(commands) == 0 {
		p.request("BR", name, "(1)")
	}
	for i, c := range commands {
		end := ","
		if i == len(commands)-1 {
			end = ""
		}
		p.request("BR", name+"-"+c.Name, "(1)"+end)
	}
}

func (p *page) arguments(n *kong.Node) {
	for _, a := range n.Positional {
		p.term(italic(a.Summary()))
		p.text(a.Help)
	}
}

// flags lists a node's own flags, under a title where it has one.
func (p *page) flags(title string, n *kong.Node) {
	var own []*kong.Flag
	for up := n; up != nil && (up == n || up.Parent != nil); up = up.Parent { // the program's are on its page
		own = append(own, slices.DeleteFunc(slices.Clone(up.Flags), func(f *kong.Flag) bool { return f.Hidden || f.Name == "help" && up.Parent != nil })...)
	}
	if len(own) == 0 {
		return
	}
	if title != "" {
		p.section(title)
	}
	for _, f := range own {
		name := bold("--" + f.Name)
		if f.Short != 0 {
			name = bold("-"+string(f.Short)) + ", " + name
		}
		if !f.IsBool() && !f.IsCounter() {
			name += "=" + italic(strings.ToUpper(f.Name))
		}
		p.term(name)
		p.text(f.Help)
		if more := facts(f); more != "" {
			p.text(more)
		}
	}
}

// facts are what a flag's help leaves to the model: default and variables.
func facts(f *kong.Flag) string {
	var facts []string
	switch {
	case !f.HasDefault || f.Default == "":
	case f.Target.Kind() == reflect.Bool && f.Default == "true":
		facts = append(facts, "On by default; --"+f.Name+"=false switches it off.")
	case f.Target.Kind() != reflect.Bool:
		facts = append(facts, "Default: "+f.Default+".")
	}
	if f.Enum != "" {
		facts = append(facts, "One of "+strings.Join(slices.DeleteFunc(f.EnumSlice(), func(s string) bool { return s == "" }), ", ")+".")
	}
	if len(f.Envs) > 0 {
		facts = append(facts, "Variable: "+strings.Join(f.Envs, ", ")+".")
	}
	return strings.Join(facts, " ")
}

func bold(text string) string { return `\fB` + escape(text) + `\fR` }

func italic(text string) string { return `\fI` + escape(text) + `\fR` }

// escape makes a text mean itself in roff, wherever it stands in a line.
func escape(text string) string {
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case (r == '.' || r == '\'') && i == 0:
			b.WriteString(`\&` + string(r))
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r < ' ' || r == 0x7f:
			b.WriteByte(' ')
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// lower makes a sentence what stands behind a name: no capital, no full stop.
func lower(sentence string) string {
	sentence = strings.TrimSuffix(sentence, ".")
	if len(sentence) > 1 && unicode.IsUpper(rune(sentence[1])) { // an abbreviation
		return sentence
	}
	return strings.ToLower(sentence[:1]) + sentence[1:]
}
