package manual

import (
	"fmt"
	"io"
	"strings"

	_ "embed" // the scripts

	"github.com/alecthomas/kong"
)

// The shells.
const (
	Bash = "bash"
	Zsh  = "zsh"
	Fish = "fish"
)

// CompleteCommand is the first argument with which the scripts ask the program: then
// comes the shell, then the words.
const CompleteCommand = "__complete"

// filesLine tells a script that names of files may be there.
const filesLine = ":files"

var (
	//go:embed complete.bash
	bashScript string
	//go:embed complete.zsh
	zshScript string
	//go:embed complete.fish
	fishScript string
)

// Script gives what makes a shell ask the program, "" for a shell that isn't known.
func Script(shell string) string {
	return map[string]string{Bash: bashScript, Zsh: zshScript, Fish: fishScript}[shell]
}

// Answer answers a script: a line for each candidate, with its help behind a tab.
func Answer(w io.Writer, app *kong.Application, shell string, words []string) error {
	lead := ""
	if shell == Bash {
		words, lead = joinBroken(words)
	}
	candidates, files := Complete(app, words)
	var b strings.Builder
	if files {
		b.WriteString(filesLine + "\n")
	}
	for _, c := range candidates {
		help, _, _ := strings.Cut(c.Help, "\n")
		fmt.Fprintf(&b, "%s\t%s\n", strings.TrimPrefix(c.Word, lead), help)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// joinBroken joins what bash breaks at "=": --flag, =, value. lead is what of the last
// word is no part of bash's.
func joinBroken(words []string) (joined []string, lead string) {
	for i := 0; i < len(words); i++ {
		lead = ""
		if words[i] != "=" || len(joined) == 0 || !strings.HasPrefix(joined[len(joined)-1], "--") {
			joined = append(joined, words[i])
			continue
		}
		lead = joined[len(joined)-1] + "="
		value := ""
		if i+1 < len(words) {
			i++
			value = words[i]
		}
		joined[len(joined)-1] = lead + value
	}
	return joined, lead
}
