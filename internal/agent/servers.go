package agent

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/confine"
)

// searched is where the CLI finds programs.
var searched = []string{"/usr/local/bin", "/usr/bin", "/bin"}

// serversOf gives what a process needs for the MCP servers of a file: to read it, to run
// their programs, and to read what those are told of in their arguments. They can start no
// further program where the run itself can't. Nothing makes the folder readable that is
// kept from runs, or one that holds it. What can't be found is the CLI's to tell.
func serversOf(config, kept string) confine.Rules {
	rules := confine.Rules{Read: []string{config}}
	text, err := os.ReadFile(config) //nolint:gosec // the operator's
	if err != nil {
		return rules
	}
	var file struct {
		Servers map[string]struct {
			Command string   `json:"command"`
			Args    []string `json:"args"`
		} `json:"mcpServers"`
	}
	_ = json.Unmarshal(text, &file) // as far as it can be read
	if target, err := filepath.EvalSymlinks(kept); err == nil {
		kept = target
	}
	for _, server := range file.Servers {
		rules.Add(program(server.Command))
		for _, argument := range server.Args {
			if filepath.IsAbs(argument) {
				rules.Read = append(rules.Read, namedBy(argument, kept)...)
			}
		}
	}
	return rules
}

// namedBy gives what an argument that is a path makes readable: a folder, or a file with
// what lies beside it, as a script's modules do; not if that is a whole home.
func namedBy(argument, kept string) []string {
	target, err := filepath.EvalSymlinks(argument)
	if err != nil {
		return nil
	}
	info, err := os.Stat(target)
	switch {
	case err != nil || within(target, kept) || within(kept, target):
		return nil
	case info.IsDir():
		return []string{argument}
	}
	folder := filepath.Dir(target)
	home, err := os.UserHomeDir()
	if err != nil || within(folder, home) || within(folder, kept) {
		return []string{argument}
	}
	return []string{argument, folder}
}

// program gives what running one needs: itself, or as a script its interpreter and what
// env is to find for it.
func program(name string) confine.Rules {
	path := found(name)
	if path == "" {
		return confine.Rules{}
	}
	words := interpreter(path)
	if words == nil {
		rules, err := confine.Program(path)
		if err != nil {
			return confine.Rules{}
		}
		return rules
	}
	rules := confine.Rules{Run: []string{path}}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		rules.Run = append(rules.Run, target)
	}
	for i, word := range words {
		if next := found(word); next != "" && (i == 0 || filepath.Base(words[0]) == "env") && interpreter(next) == nil {
			rules.Add(program(next))
		}
	}
	return rules
}

// found gives the path of a program; "" where there is none.
func found(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	if name == "" || strings.ContainsRune(name, '/') {
		return ""
	}
	for _, folder := range searched {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// interpreter gives the words of a script's first line; nil where it isn't one.
func interpreter(path string) []string {
	file, err := os.Open(path) //nolint:gosec // a program that the operator has named
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }() // it was only read
	line, _ := bufio.NewReaderSize(file, 256).ReadSlice('\n')
	words, script := strings.CutPrefix(string(line), "#!")
	if !script {
		return nil
	}
	return strings.Fields(words)
}
