package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"claude-code-api-service/internal/supervise"
)

type serviceCommand struct {
	Start     startServiceCommand     `cmd:"" help:"Start the service: its unit or agent where it is installed, else in the background."`
	Stop      stopServiceCommand      `cmd:"" help:"Let running requests finish, and end the service."`
	Status    serviceStatusCommand    `cmd:"" help:"Say whether the service runs; exit code 3 where it doesn't."`
	Logs      serviceLogsCommand      `cmd:"" help:"Show the service's log."`
	Install   installServiceCommand   `cmd:"" help:"Make the service a unit of systemd or an agent of launchd."`
	Uninstall uninstallServiceCommand `cmd:"" help:"Undo that. Data and settings stay."`
}

// place says which service it is.
type place struct {
	DataDir string `help:"Folder for the service's data, and for its log and number where it runs in the background." default:"${data_dir}" env:"CLAUDE_API_DATA_DIR"`
}

func (p *place) options(c *commands) (o supervise.Options, err error) {
	if o.Program, err = os.Executable(); err != nil {
		return o, err
	}
	if o.Home, err = os.UserHomeDir(); err != nil {
		return o, err
	}
	if o.DataDir, err = filepath.Abs(p.DataDir); err != nil {
		return o, err
	}
	if c.Config != "" {
		o.Config, err = filepath.Abs(c.Config)
	}
	return o, err
}

// statusColumns are what is known of a service.
var statusColumns = []column[supervise.Status]{
	{name: "state", title: "State", value: func(s supervise.Status) any { return s.State }},
	{name: "pid", title: "Process", value: func(s supervise.Status) any {
		if s.PID == 0 {
			return nil
		}
		return s.PID
	}},
	{name: "since", title: "Since", value: func(s supervise.Status) any { return s.Since }},
	{name: "url", title: "Address", value: func(s supervise.Status) any { return s.URL }},
	{name: "detail", title: "Detail", value: func(s supervise.Status) any { return s.Detail }},
	{name: "manager", title: "Run by", value: func(s supervise.Status) any { return s.Manager }},
	{name: "log", title: "Log", value: func(s supervise.Status) any { return s.Log }},
}

type startServiceCommand struct {
	place      `embed:""`
	listOutput `embed:""`
}

// Help is shown by service start --help.
func (*startServiceCommand) Help() string {
	return "In the background the service has this command's environment and configuration file, and isn't started again when it dies."
}

// Run starts the service and shows what it is then.
func (s *startServiceCommand) Run(c *commands) error {
	options, err := s.options(c)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted()
	defer stop()
	status, err := supervise.Find(options).Start(ctx)
	if err != nil {
		return err
	}
	return printOne(os.Stdout, s.Output, statusColumns, status)
}

type stopServiceCommand struct {
	place   `embed:""`
	Timeout time.Duration `help:"How long to wait for its end. It goes on finishing what runs all the same." default:"1m"`
}

// Run stops the service.
func (s *stopServiceCommand) Run(c *commands) error {
	options, err := s.options(c)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return supervise.Find(options).Stop(ctx)
}

type serviceStatusCommand struct {
	place      `embed:""`
	listOutput `embed:""`
}

// Run shows whether the service runs.
func (s *serviceStatusCommand) Run(c *commands) error {
	options, err := s.options(c)
	if err != nil {
		return err
	}
	status, err := supervise.Find(options).Status(context.Background())
	if err != nil {
		return err
	}
	if err := printOne(os.Stdout, s.Output, statusColumns, status); err != nil {
		return err
	}
	if status.State != supervise.Running {
		return &exitError{code: exitNotFound} // 3, as of init scripts
	}
	return nil
}

type serviceLogsCommand struct {
	place  `embed:""`
	Lines  int  `short:"n" help:"How many of the last lines." default:"100"`
	Follow bool `short:"f" help:"Go on with what comes, until interrupted."`
}

// Run shows the log.
func (s *serviceLogsCommand) Run(c *commands) error {
	if s.Lines < 0 {
		return misused("--lines: must not be negative")
	}
	options, err := s.options(c)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted()
	defer stop()
	return supervise.Find(options).Logs(ctx, screenSafe(os.Stdout, formTable), s.Lines, s.Follow)
}

// installation is what installing and its undoing have in common.
type installation struct {
	place  `embed:""`
	System bool `help:"For the whole machine (systemd, as root), not for this user."`
	DryRun bool `help:"Only show what would be done."`
	Yes    bool `short:"y" help:"Ask nothing."`
}

// do shows a plan, asks, and does it.
func (i *installation) do(plan *supervise.Plan) error {
	if !i.Yes || i.DryRun {
		if err := plan.Print(os.Stdout); err != nil {
			return err
		}
	}
	if i.DryRun {
		return nil
	}
	if !i.Yes && !agreed("Do this?") {
		return errors.New("nothing was done (--yes asks nothing)")
	}
	ctx, stop := untilInterrupted()
	defer stop()
	if err := plan.Do(ctx); err != nil {
		return err
	}
	printf("%s\n", plan.Next)
	return nil
}

// agreed asks a person; whoever isn't there says no.
func agreed(question string) bool {
	fmt.Fprint(os.Stderr, question+" [y/N] ")
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // its end is a no
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

type installServiceCommand struct {
	installation `embed:""`
	APIKeyFile   string `name:"api-key-file" help:"File with the credential for the upstream, which the service gets as ANTHROPIC_API_KEY_FILE. With --system /etc/claude-api/anthropic-api-key, which may be made later." type:"path"`
}

// Run installs the service.
func (s *installServiceCommand) Run(c *commands) error {
	options, err := s.options(c)
	if err != nil {
		return err
	}
	plan, err := supervise.Install{Options: options, System: s.System, APIKeyFile: s.APIKeyFile}.Plan(s.DryRun)
	if err != nil {
		return err
	}
	return s.do(plan)
}

type uninstallServiceCommand struct {
	installation `embed:""`
}

// Run undoes the installation.
func (s *uninstallServiceCommand) Run(c *commands) error {
	options, err := s.options(c)
	if err != nil {
		return err
	}
	plan, err := supervise.Install{Options: options, System: s.System}.PlanRemoval(context.Background())
	if err != nil {
		return err
	}
	return s.do(plan)
}
