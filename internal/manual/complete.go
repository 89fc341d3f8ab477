// Package manual tells people of a command line, from the model that parses it: its
// man pages, and what a shell offers to complete.
package manual

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Candidate is one word that may stand where the cursor is.
type Candidate struct{ Word, Help string }

// Complete gives what may be in the place of the last of the words, which may be begun
// or "": they are those of a command line, without the program's name. files says that
// names of files may be there, and there are no candidates then.
func Complete(app *kong.Application, words []string) (candidates []Candidate, files bool) {
	if len(words) == 0 {
		words = []string{""}
	}
	at := &cursor{node: app.Node}
	for _, word := range words[:len(words)-1] {
		at.pass(word)
	}
	last := words[len(words)-1]
	switch {
	case at.flag != nil:
		candidates, files = valuesOf(at.flag.Value)
	case strings.HasPrefix(last, "--") && strings.Contains(last, "=") && !at.plain:
		name, _, _ := strings.Cut(last, "=")
		flag := at.find(name)
		if flag == nil {
			return nil, false
		}
		candidates, files = valuesOf(flag.Value)
		for i := range candidates {
			candidates[i].Word = name + "=" + candidates[i].Word
		}
	case strings.HasPrefix(last, "-") && !at.plain:
		candidates = at.flags()
	default:
		candidates, files = at.words()
	}
	return slices.DeleteFunc(candidates, func(c Candidate) bool { return !strings.HasPrefix(c.Word, last) }), files
}

// cursor is how far the words lead into the model.
type cursor struct {
	node       *kong.Node
	positional int        // how many were passed
	flag       *kong.Flag // whose value comes next; nil for none
	plain      bool       // behind --
}

// pass goes on behind a word.
func (c *cursor) pass(word string) {
	switch {
	case c.flag != nil:
		c.flag = nil
	case c.plain:
		c.positional++
	case word == "--":
		c.plain = true
	case strings.HasPrefix(word, "-") && word != "-":
		if flag := c.find(word); flag != nil && !strings.Contains(word, "=") && !flag.IsBool() && !flag.IsCounter() {
			c.flag = flag
		}
	default:
		for _, child := range c.node.Children {
			if child.Name == word || slices.Contains(child.Aliases, word) {
				c.node, c.positional = child, 0
				return
			}
		}
		c.positional++
	}
}

// find gives the flag that a word names, nil for none. Of several short ones it is the
// last, the only one that a value may follow.
func (c *cursor) find(word string) *kong.Flag {
	name, long := strings.CutPrefix(word, "--")
	name, _, _ = strings.Cut(name, "=")
	for _, group := range c.node.AllFlags(false) {
		for _, flag := range group {
			if long && flag.Name == name || !long && flag.Short != 0 && strings.HasSuffix(word, string(flag.Short)) {
				return flag
			}
		}
	}
	return nil
}

func (c *cursor) flags() (found []Candidate) {
	for _, group := range c.node.AllFlags(true) {
		for _, flag := range group {
			found = append(found, Candidate{"--" + flag.Name, flag.Help})
		}
	}
	return found
}

// words are commands, or what the next positional argument may be.
func (c *cursor) words() (found []Candidate, files bool) {
	for _, child := range c.node.Children {
		if !child.Hidden && child.Type == kong.CommandNode {
			found = append(found, Candidate{child.Name, child.Help})
		}
	}
	if len(found) > 0 || len(c.node.Positional) == 0 {
		return found, false
	}
	// The last one may take several.
	last := len(c.node.Positional) - 1
	value := c.node.Positional[min(c.positional, last)]
	if c.positional > last && !value.IsCumulative() {
		return nil, false
	}
	return valuesOf(value)
}

// pathTypes are the names of kong's mappers of paths.
var pathTypes = map[string]bool{"path": true, "existingfile": true, "existingdir": true, "filecontent": true, "namedfilecontent": true}

// ofFiles finds a help text that is about a file or a folder.
var ofFiles = regexp.MustCompile(`(?i)\b(files?|folders?|binary)\b`)

// valuesOf gives what a value may be, where that is known.
func valuesOf(value *kong.Value) (found []Candidate, files bool) {
	if value.Enum != "" {
		for _, word := range value.EnumSlice() {
			if word != "" {
				found = append(found, Candidate{Word: word})
			}
		}
		return found, false
	}
	if value.IsBool() {
		return []Candidate{{Word: "true"}, {Word: "false"}}, false
	}
	kind := value.Target.Kind()
	text := kind == reflect.String || kind == reflect.Slice || kind == reflect.Pointer
	return nil, value.Tag != nil && pathTypes[value.Tag.Type] || text && ofFiles.MatchString(value.Help)
}
