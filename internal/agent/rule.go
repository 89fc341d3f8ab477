package agent

import (
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// covers says whether a tool with a rule behind it, as the CLI writes it, holds a use.
// It reads rules more narrowly than the CLI: what it isn't sure of, isn't held.
func covers(entry string, u use) bool {
	name, rule, ruled := strings.Cut(entry, ruleBeyond)
	if name != u.tool || !ruled {
		return false
	}
	rule = strings.TrimSuffix(rule, ")")
	var input struct {
		Command  string `json:"command"`
		URL      string `json:"url"`
		FilePath string `json:"file_path"`
		Notebook string `json:"notebook_path"`
		Path     string `json:"path"`
		Agent    string `json:"subagent_type"`
		Skill    string `json:"skill"`
	}
	if json.Unmarshal(u.input, &input) != nil {
		return false
	}
	switch u.tool {
	case toolBash:
		return coversCommand(rule, input.Command)
	case toolFetch:
		domain, isDomain := strings.CutPrefix(rule, "domain:")
		target, err := url.Parse(input.URL)
		return isDomain && err == nil && strings.EqualFold(target.Hostname(), domain)
	case "Read", "Edit", "MultiEdit", "Write", "NotebookEdit", "Glob", "Grep", "LS":
		return coversPath(rule, u.folder, input.FilePath+input.Notebook+input.Path)
	case "Task", "Agent":
		return rule == input.Agent
	case toolSkill:
		return rule == input.Skill
	}
	return false // nobody here knows what such a rule holds
}

// coversCommand says that each command of a line of the shell begins as the rule
// says: words and :*, or the words alone. Lines whose commands can't be told apart
// for certain aren't covered.
func coversCommand(rule, line string) bool {
	commands, ok := splitCommands(line)
	if !ok || len(commands) == 0 {
		return false
	}
	prefix, open := strings.CutSuffix(rule, ":*")
	if !open {
		if prefix, open = strings.CutSuffix(rule, " *"); !open && rule == "*" {
			return true
		}
	}
	return !slices.ContainsFunc(commands, func(command string) bool {
		return command != prefix && (!open || !strings.HasPrefix(command, prefix+" "))
	})
}

// splitCommands takes a line of the shell apart at what stands between commands. ok is
// false where it holds anything that could run or write something else: substitutions,
// redirections, groups, a backslash.
func splitCommands(line string) (commands []string, ok bool) {
	var quote rune
	start := 0
	for i, c := range line {
		switch {
		case quote == '\'' && c != quote:
		case strings.ContainsRune("`$\\", c):
			return nil, false
		case c == quote:
			quote = 0
		case quote != 0:
		case c == '\'' || c == '"':
			quote = c
		case strings.ContainsRune("<>(){}", c):
			return nil, false
		case strings.ContainsRune(";|&\n\r", c):
			commands, start = append(commands, line[start:i]), i+1
		}
	}
	commands = append(commands, line[start:])
	for i := range commands {
		commands[i] = strings.TrimSpace(commands[i])
	}
	return slices.DeleteFunc(commands, func(c string) bool { return c == "" }), quote == 0
}

// coversPath says that a path is one that a rule names: below the working directory,
// or absolute with two slashes in front. ** stands for any folders, * for a part of
// one name.
func coversPath(rule, folder, name string) bool {
	if name == "" {
		name = "."
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	pattern, absolute := strings.CutPrefix(rule, "//")
	if absolute {
		pattern = "/" + pattern
	} else {
		pattern = filepath.Join(folder, strings.TrimPrefix(rule, "/"))
	}
	return matches(strings.Split(path.Clean(pattern), "/"), strings.Split(filepath.Clean(name), "/"))
}

// matches goes back to the last ** only, since what an earlier one could take, that one
// can: callers write patterns, and the time must not grow with each of their stars.
func matches(pattern, name []string) bool {
	at, star, from := 0, -1, 0
	for i := 0; i < len(name); {
		switch {
		case at < len(pattern) && pattern[at] == "**":
			star, from = at, i
			at++
		case at < len(pattern) && matchesPart(pattern[at], name[i]):
			at++
			i++
		case star >= 0:
			from++
			at, i = star+1, from
		default:
			return false
		}
	}
	for at < len(pattern) && pattern[at] == "**" {
		at++
	}
	return at == len(pattern)
}

func matchesPart(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
