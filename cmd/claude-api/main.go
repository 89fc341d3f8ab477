// Command claude-api serves Claude over HTTP: through warm Claude Code CLI
// processes and through the Anthropic API.
package main

import (
	"os"

	"github.com/alecthomas/kong"

	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/manual"
)

// commands is the command line.
type commands struct {
	Config string `help:"Configuration file (YAML)." env:"CLAUDE_API_CONFIG" type:"path"`
	Color  string `help:"When the output has colours: auto, always or never; auto is on a terminal, unless NO_COLOR is set." enum:"auto,always,never" default:"auto"`

	Serve   serveCommand   `cmd:"" group:"run" help:"Serve requests."`
	Demo    demoCommand    `cmd:"" group:"run" help:"Show on this machine, without an account, what a request costs: cold, warm and direct."`
	Service serviceCommand `cmd:"" group:"run" help:"Start, stop and install the service on this machine."`
	Doctor  doctorCommand  `cmd:"" group:"run" help:"Find what is wrong with an installation, and how to mend it."`
	Health  healthCommand  `cmd:"" group:"run" help:"Ask a running service how it is."`
	Workers workersCommand `cmd:"" group:"run" help:"List and end the workers of a running service."`
	Top     topCommand     `cmd:"" group:"run" help:"Show in a terminal what a running service does, and end its workers."`

	Keys     keysCommand     `cmd:"" group:"keys" help:"Create, change and revoke API keys."`
	Projects projectsCommand `cmd:"" group:"keys" help:"List projects; set their time zones, limits and budgets."`
	Profiles profilesCommand `cmd:"" group:"keys" help:"List, make and delete profiles: what keys allow."`
	Budgets  budgetsCommand  `cmd:"" group:"keys" help:"List, set and remove budgets."`
	Usage    usageCommand    `cmd:"" group:"keys" help:"Report what was used and what it cost; export the ledger."`
	Audit    auditCommand    `cmd:"" group:"keys" help:"Show or export who did what."`

	Process   processCommand   `cmd:"" group:"call" help:"Send prompts to a running service."`
	Batch     batchCommand     `cmd:"" group:"call" help:"Send many prompts to a running service at once."`
	Tasks     tasksCommand     `cmd:"" group:"call" help:"List, show, end and follow the tasks of a key, at a running service."`
	Agents    agentsCommand    `cmd:"" group:"call" help:"List the agents that tasks and sessions may start."`
	Skills    skillsCommand    `cmd:"" group:"call" help:"List the skills that tasks and sessions may use."`
	Route     routeCommand     `cmd:"" group:"call" help:"Ask a running service which model suits a prompt."`
	Providers providersCommand `cmd:"" group:"call" help:"List the providers of a running service."`
	Models    modelsCommand    `cmd:"" group:"call" help:"List the models of a running service."`

	Bench      benchCommand      `cmd:"" group:"tools" help:"Measure on this machine where the former service lost its time and what this one takes; compare running services."`
	Simulator  simulatorCommand  `cmd:"" group:"tools" help:"Serve an imitation of the Anthropic API."`
	Man        manCommand        `cmd:"" group:"tools" help:"Print the manual as man pages."`
	Completion completionCommand `cmd:"" group:"tools" help:"Print the script that completes this program's command lines in a shell."`

	Version kong.VersionFlag `help:"Print the version, and where it comes from."`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == manual.CompleteCommand {
		if err := complete(os.Args[2:]); err != nil {
			fail(err)
		}
		return
	}
	var c commands
	parser, err := newParser(&c, os.Args[1:])
	if err != nil {
		fail(err)
	}
	ctx, err := parser.Parse(joinNegative(os.Args[1:]))
	if c.Color != "" {
		color = c.Color
	}
	parser.FatalIfErrorf(err)
	if err := ctx.Run(); err != nil {
		fail(err)
	}
}

// forgetEmpty makes a variable that is set to nothing, as container files often
// do, one that isn't set. An empty data folder would be the working folder.
func forgetEmpty(n *kong.Node) {
	for _, flag := range n.Flags {
		for _, name := range flag.Envs {
			if value, set := os.LookupEnv(name); set && value == "" {
				_ = os.Unsetenv(name) // fails only for a name that couldn't have been set
			}
		}
	}
	for _, child := range n.Children {
		forgetEmpty(child)
	}
}

// configPath finds --config before the flags are parsed, because the file gives
// flags their values.
func configPath(args []string) string {
	for i, arg := range args {
		if arg == "--config" && i+1 < len(args) {
			return args[i+1]
		}
		if len(arg) > 9 && arg[:9] == "--config=" {
			return arg[9:]
		}
	}
	return os.Getenv(config.FileVariable)
}
