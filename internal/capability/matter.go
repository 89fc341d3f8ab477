package capability

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	errNoMatter  = errors.New("it has no front matter")
	errEndless   = errors.New("its front matter has no end")
	errUnread    = errors.New("its front matter isn't YAML")
	matterBounds = regexp.MustCompile(`(?m)^---[ \t]*\r?$`)
)

// matter is the front matter of a file. Members of other types than are expected are
// as if they weren't there, as they are for the CLI.
type matter map[string]any

func (m matter) text(name string) string {
	text, _ := m[name].(string)
	return strings.TrimSpace(text)
}

func (m matter) flag(name string) bool {
	switch value := m[name].(type) {
	case bool:
		return value
	case string:
		return value == "true"
	}
	return false
}

// names gives a list, or a text with commas or blanks between the names. nil: it isn't
// there, or is for all.
func (m matter) names(name string) []string {
	var list []string
	switch value := m[name].(type) {
	case string:
		list = split(value)
	case []any:
		for _, item := range value {
			if text, ok := item.(string); ok && text != "" {
				list = append(list, text)
			}
		}
	}
	if len(list) == 1 && list[0] == "*" {
		return nil
	}
	return list
}

// split cuts a text at commas and blanks outside of parentheses: a tool's rule may hold
// both.
func split(text string) []string {
	depth := 0
	return strings.FieldsFunc(text, func(c rune) bool {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',', ' ', '\t', '\n':
			return depth <= 0
		}
		return false
	})
}

// parse cuts a file into its front matter and what follows. whole says that text is the
// whole file.
func parse(text []byte, whole bool) (m matter, rest []byte, err error) {
	bounds := matterBounds.FindAllIndex(text, 2)
	if len(bounds) == 0 || bounds[0][0] != 0 {
		return nil, text, errNoMatter
	}
	if len(bounds) == 1 {
		if !whole {
			return nil, nil, fmt.Errorf("%w within %d bytes", errEndless, maxHead)
		}
		return nil, nil, errEndless
	}
	inside := text[bounds[0][1]:bounds[1][0]]
	if err = yaml.Unmarshal(inside, &m); err != nil && yaml.Unmarshal(quoted(inside), &m) != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	return m, text[bounds[1][1]:], nil
}

var (
	simpleLine = regexp.MustCompile(`^([A-Za-z_-]+):[ \t]+(.+)$`)
	needQuotes = regexp.MustCompile("[{}\\[\\]*&#!|>%@`]|: ")
)

// quoted puts values into quotes that YAML would read as more than a text. The CLI does
// so too, because people write "description: Use it when: …".
func quoted(inside []byte) []byte {
	lines := bytes.Split(inside, []byte("\n"))
	for i, line := range lines {
		line = bytes.TrimSuffix(line, []byte("\r"))
		found := simpleLine.FindSubmatch(line)
		if found == nil || found[2][0] == '"' || found[2][0] == '\'' || !needQuotes.Match(found[2]) {
			continue
		}
		value := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(found[2]))
		lines[i] = fmt.Appendf(nil, `%s: "%s"`, found[1], value)
	}
	return bytes.Join(lines, []byte("\n"))
}

// firstLine is the first line of a text that says something, without the marks of a
// heading.
func firstLine(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(strings.TrimLeft(line, "#")); line != "" {
			return line
		}
	}
	return ""
}
