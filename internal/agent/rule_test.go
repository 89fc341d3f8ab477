package agent

import (
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// plainly is what matches does, as it is meant: it may take for ever.
func plainly(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "**":
		return plainly(pattern[1:], name) || len(name) > 0 && plainly(pattern, name[1:])
	case len(name) == 0:
		return false
	}
	ok, err := path.Match(pattern[0], name[0])
	return ok && err == nil && plainly(pattern[1:], name[1:])
}

// FuzzRule holds the matching of paths against its plain form. Whatever a rule and a use
// are, they are judged: a rule of one tool holds no use of another.
func FuzzRule(f *testing.F) {
	for _, seed := range [][2]string{
		{"**/a/**/a", "x/a/y/a"}, {"**/**/**", "a"}, {"src/*.go", "src/x.go"}, {"//etc/**", "/etc/passwd"}, {"[", "["}, {"", ""}, {"git log:*", "git log -p"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, rule, name string) {
		pattern, parts := strings.Split(path.Clean("/work/"+rule), "/"), strings.Split(filepath.Clean("/work/"+name), "/")
		if len(pattern) <= 8 && len(parts) <= 8 && matches(pattern, parts) != plainly(pattern, parts) {
			t.Errorf("%q, %q", pattern, parts)
		}
		input, err := json.Marshal(map[string]string{"file_path": name, "command": name, "url": name, "skill": name})
		if err != nil {
			return // it isn't UTF-8, as the CLI's JSON is
		}
		for _, tool := range []string{"Read", "Bash", "WebFetch", "Skill"} {
			if covers("Write("+rule+")", use{tool: tool, input: jsontext.Value(input), folder: "/work"}) {
				t.Errorf("a rule of Write holds a use of %s", tool)
			}
			covers(tool+"("+rule+")", use{tool: tool, input: jsontext.Value(input), folder: "/work"})
		}
	})
}

// TestManyStars is over at once, whatever a caller's rule asks for.
func TestManyStars(t *testing.T) {
	rule := "Read(" + strings.Repeat("**/a/", 200) + "b)"
	input := jsontext.Value(`{"file_path":"` + strings.Repeat("a/", 2_000) + `c"}`)
	if covers(rule, use{tool: "Read", input: input, folder: "/work"}) {
		t.Error("a file of another name is covered")
	}
}
