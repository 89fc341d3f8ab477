package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/manual"
)

// newModel makes the model of the command line as it is on every machine: without
// anything of this one's environment, files or folders.
func newModel() (*kong.Application, error) {
	parser, err := kong.New(&commands{},
		kong.Name("claude-api"),
		kong.Description("An HTTP API in front of the Claude Code CLI and the Anthropic API."),
		kong.ExplicitGroups(groups),
		kong.Vars{"data_dir": "~/.claude-api", "version": app.Version, "default_profile": apikey.DefaultProfile},
	)
	if err != nil {
		return nil, err
	}
	return parser.Model, nil
}

// complete answers a shell: its name, then the words up to the cursor. Nothing that goes
// wrong is a shell's business.
func complete(args []string) error {
	model, err := newModel()
	if err != nil || len(args) == 0 {
		return err
	}
	return manual.Answer(os.Stdout, model, args[0], args[1:])
}

type completionCommand struct {
	Shell string `arg:"" optional:"" help:"bash, zsh or fish." enum:"bash,zsh,fish," default:""`
	Dir   string `help:"Write the scripts of all shells into a folder instead, under the names that they look for." type:"path"`
}

// Help is shown by completion --help.
func (*completionCommand) Help() string {
	return "The packages install it. Otherwise: source <(claude-api completion bash) in ~/.bashrc; " +
		"claude-api completion zsh > _claude-api in a folder of $fpath; claude-api completion fish > ~/.config/fish/completions/claude-api.fish."
}

// Run prints the script.
func (c *completionCommand) Run() error {
	switch {
	case c.Shell != "" && c.Dir != "":
		return misused("--dir writes the scripts of all shells")
	case c.Dir != "":
		return writeAll(c.Dir, map[string]string{
			"claude-api": manual.Script(manual.Bash), "_claude-api": manual.Script(manual.Zsh), "claude-api.fish": manual.Script(manual.Fish),
		})
	case c.Shell == "":
		return misused("for which shell? bash, zsh or fish")
	}
	printf("%s", manual.Script(c.Shell))
	return nil
}

type manCommand struct {
	Command string `arg:"" optional:"" help:"The command whose page it is; without one, the program's."`
	Dir     string `help:"Write all pages into a folder instead." type:"path"`
}

// Help is shown by man --help.
func (*manCommand) Help() string { return "To read it: claude-api man keys | man -l -" }

// Run prints a page, or writes all.
func (c *manCommand) Run() error {
	model, err := newModel()
	if err != nil {
		return err
	}
	built := app.ReadBuilt()
	pages := manual.Book{App: model, Version: built.Version, Date: built.Date, Sections: manSections()}.Pages()
	if c.Dir != "" {
		if c.Command != "" {
			return misused("--dir writes the pages of all commands")
		}
		files := map[string]string{}
		for _, p := range pages {
			files[p.Name+".1"] = p.Text
		}
		return writeAll(c.Dir, files)
	}
	name := strings.TrimSuffix("claude-api-"+c.Command, "-")
	for _, p := range pages {
		if p.Name == name {
			printf("%s", p.Text)
			return nil
		}
	}
	return notFound("there is no command %q", c.Command)
}

// writeAll writes files into a folder, by their names.
func writeAll(folder string, files map[string]string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manSections are what the command line's model doesn't know.
func manSections() []manual.Section {
	codes := manual.Section{Title: "Exit status"}
	for _, e := range exitCodes {
		codes.Terms = append(codes.Terms, [2]string{strconv.Itoa(e.code), e.what + "."})
	}
	return []manual.Section{
		codes,
		{Title: "Environment", Terms: [][2]string{
			{"ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN", "The service's credential for the upstream. With _FILE behind its name: a file that holds it."},
			{"ANTHROPIC_BASE_URL", "The upstream. Default: https://api.anthropic.com."},
			{"CLAUDE_API_WEBHOOK_SECRET", "Signs what is sent to --webhook-url. With _FILE behind its name: a file that holds it."},
		}},
		{Title: "Files", Terms: [][2]string{
			{"~/.claude-api/config.yaml", "Settings, under the names of the flags. Variables win over it, and flags over those."},
			{"~/.claude-api", "The data folder: the database, keys that were provisioned, and of a service in the background its log."},
		}},
		{Title: "Signals", Terms: [][2]string{
			{"SIGTERM, SIGINT", "Nothing new is taken, what runs is finished. A second one ends the service at once."},
			{"SIGHUP", "The configuration, and the files that it names, are read again."},
		}},
	}
}
