package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/config"
)

// groups are the titles in --help, of commands and of flags.
var groups = []kong.Group{
	{Key: "run", Title: "Run the service, and see how it is:"},
	{Key: "keys", Title: "Keys and money:"},
	{Key: "call", Title: "Prompts, tasks, agents and models:"},
	{Key: "tools", Title: "Measure, try, document:"},
	{Key: "budgets", Title: "Budgets, in the project's time zone:"},
	{Key: "compare", Title: "Running services instead:"},
}

// newParser makes what parses a command line into c, below it the environment, and
// below that the configuration file that either names.
func newParser(c *commands, args []string) (*kong.Kong, error) {
	parser, err := kong.New(c,
		kong.Name("claude-api"),
		kong.Description("An HTTP API in front of the Claude Code CLI and the Anthropic API.\n\n"+exitHelp()),
		kong.Exit(func(code int) {
			if code != exitDone { // kong tells apart what is wrong with a command line and with a file's values
				code = exitUsage
			}
			os.Exit(code)
		}),
		kong.ShortUsageOnError(), // the whole one would hide the error
		kong.ExplicitGroups(groups),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}), // seven commands of keys alone would hide the others
		kong.Vars{"data_dir": config.DefaultDataDir(), "version": "claude-api " + app.ReadBuilt().String(), "default_profile": apikey.DefaultProfile},
	)
	if err != nil {
		return nil, err
	}
	file := &config.File{}
	if commandOf(args) != "doctor" { // which looks at a file that can't be read
		if file, err = config.ReadFile(configPath(args)); err != nil {
			return nil, err
		}
	}
	if err := kong.Resolvers(file).Apply(parser); err != nil {
		return nil, err
	}
	forgetEmpty(parser.Model.Node)
	return parser, nil
}

// commandOf gives the command that a command line names, "" where it names none.
func commandOf(args []string) string {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--config" || arg == "--color":
			i++ // its value
		case !strings.HasPrefix(arg, "-"):
			return arg
		}
	}
	return ""
}

// readAgain gives the configuration of a service that runs: its command line and
// environment are what they were, the files may be others.
func readAgain() (*config.Config, error) {
	var c commands
	parser, err := newParser(&c, os.Args[1:])
	if err != nil {
		return nil, err
	}
	if _, err := parser.Parse(os.Args[1:]); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return &c.Serve.Config, c.Serve.complete()
}
