package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/doctor"
)

type doctorCommand struct {
	Online  bool   `help:"Ask the upstream for one model too, which is free; without this it isn't contacted."`
	Fix     bool   `help:"Mend what is safe to mend: rights of files, folders that are missing. Asks before each."`
	Yes     bool   `short:"y" help:"Don't ask."`
	DataDir string `help:"Folder for the service's data, as serve is given it."`
	listOutput
	Serve []string `arg:"" optional:"" name:"flags" help:"What serve is given, behind --: doctor -- --listen 127.0.0.1:9000."`
}

// Help is shown by doctor --help.
func (c *doctorCommand) Help() string {
	return "Looks at the installation as claude-api serve would find it here: the same configuration file, variables and flags. " +
		"It ends with exit code 1 when something is wrong that keeps the service from working. docs/doctor.md lists every check."
}

// Run looks, tells, and mends what it may.
func (c *doctorCommand) Run(all *commands) error {
	if c.Yes && !c.Fix {
		return misused("--yes: there is nothing to ask without --fix")
	}
	ctx, stop := untilInterrupted()
	defer stop()
	if isTerminal(os.Stderr) {
		fmt.Fprintln(os.Stderr, "· looking, for at most", doctor.Limit)
	}
	look := func() []doctor.Finding { return doctor.Examine(ctx, c.installation(all)) }
	found := look()
	if c.Fix {
		mended, err := c.mend(found, bufio.NewReader(os.Stdin))
		if err != nil {
			return err
		}
		if mended {
			found = look()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.print(found); err != nil {
		return err
	}
	if doctor.Worst(found) == doctor.Fail {
		return &exitError{exitFailed, nil}
	}
	return nil
}

// mend does what findings offer, once it was agreed to.
func (c *doctorCommand) mend(found []doctor.Finding, answers *bufio.Reader) (mended bool, err error) {
	for _, f := range found {
		if f.Fix == nil {
			continue
		}
		if !c.Yes {
			fmt.Fprintf(os.Stderr, "%s\n%s? [y/N] ", printable(f.Detail), printable(f.Fix.What))
			line, err := answers.ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return mended, err
			}
			if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
				if errors.Is(err, io.EOF) {
					fmt.Fprintln(os.Stderr)
				}
				continue
			}
		}
		if err := f.Fix.Do(); err != nil {
			warn("%s: %v", f.Fix.What, err)
			continue
		}
		fmt.Fprintln(os.Stderr, "· done:", printable(f.Fix.What))
		mended = true
	}
	return mended, nil
}

var findingColumns = []column[doctor.Finding]{
	{name: "group", value: func(f doctor.Finding) any { return f.Group }},
	{name: "check", value: func(f doctor.Finding) any { return f.Check }},
	{name: "status", value: func(f doctor.Finding) any { return string(f.Status) }},
	{name: "detail", value: func(f doctor.Finding) any { return f.Detail }},
	{name: "mend", value: func(f doctor.Finding) any { return f.Mend }},
	{name: "fixable", value: func(f doctor.Finding) any { return f.Fix != nil }},
}

func (c *doctorCommand) print(found []doctor.Finding) error {
	if c.Output != formTable {
		return printList(os.Stdout, c.Output, findingColumns, found)
	}
	width := 0
	for _, f := range found {
		width = max(width, len(f.Check))
	}
	group, counts := "", map[doctor.Status]int{}
	fixable := false
	for _, f := range found {
		if f.Group != group {
			group = f.Group
			printf("%s\n", styled(os.Stdout, styleBold, group))
		}
		counts[f.Status]++
		printf("  %s  %-*s  %s\n", styled(os.Stdout, styleOf(f.Status), fmt.Sprintf("%-4s", mark(f.Status))), width, f.Check, printable(f.Detail))
		if f.Mend != "" {
			printf("        %-*s  mend: %s\n", width, "", printable(f.Mend))
		}
		fixable = fixable || f.Fix != nil
	}
	printf("\n%d ok, %d to look at, %d wrong, %d not checked\n", counts[doctor.OK], counts[doctor.Warn], counts[doctor.Fail], counts[doctor.Skip])
	if fixable && !c.Fix {
		printf("claude-api doctor --fix mends some of it, and asks before\n")
	}
	return nil
}

// mark is a status in the table.
func mark(s doctor.Status) string {
	if s == doctor.Skip {
		return "–"
	}
	return string(s)
}

func styleOf(s doctor.Status) style {
	switch s {
	case doctor.OK:
		return styleGood
	case doctor.Warn:
		return styleUneasy
	case doctor.Fail:
		return styleBad
	}
	return styleFaint
}

// installation gathers what there is to look at: the settings as serve would have them,
// and how to look at the rest.
func (c *doctorCommand) installation(all *commands) *doctor.Installation {
	in := &doctor.Installation{
		Program: doctor.Program{Version: app.Version, Commit: app.ReadBuilt().Commit},
		Online:  c.Online, Getenv: os.Getenv, TempDir: os.TempDir(), Leftovers: leftRuns,
	}
	in.Program.Path, _ = os.Executable() // "" where the system doesn't tell
	in.Home, _ = os.UserHomeDir()        // as above
	args := append([]string{"serve"}, c.Serve...)
	if c.DataDir != "" {
		args = append(args, "--data-dir="+c.DataDir)
	}
	if all.Config != "" {
		args = append(args, "--config="+all.Config)
	}
	read := readSettings(args)
	in.SettingsError, in.Unread, in.File, in.Settings = read.err, read.unread, read.file, read.settings
	if in.Unread {
		return in
	}
	s := &read.serve.Config
	in.DataDir = s.DataDir
	if s.DatabaseURL == "" && s.DatabaseURLFile == "" {
		in.DatabasePath = s.Database()
	}
	in.Credentials.Files = read.files
	once := sync.OnceValues(func() (app.DatabaseLook, error) {
		ctx, cancel := context.WithTimeout(context.Background(), doctor.Limit)
		defer cancel()
		return app.LookAtDatabase(ctx, &s.Data)
	})
	in.Look = func(context.Context) (doctor.Database, error) {
		l, err := once()
		return doctor.Database(l), err
	}
	in.Addresses, in.SocketMode, in.TLSCert, in.TLSKey = s.Addresses(), s.Mode(), s.TLSCert, s.TLSKey
	var err error
	if in.CLI, err = app.FindCLI(s); err != nil {
		in.CLI = s.ClaudePath
	}
	in.CLIOff, in.ClaudeHome, in.ClaudeEnv = s.CLIOff(), s.ClaudeHome, s.ClaudeEnv
	in.Probe = func(ctx context.Context) (string, bool, error) { return app.ProbeCLI(ctx, s, in.CLI) }
	in.Credentials.APIKey, in.Credentials.AuthToken = s.Anthropic.APIKey.Reveal(), s.Anthropic.AuthToken.Reveal()
	in.BaseURL, in.MaxWorkers, in.MaxTasks = s.Anthropic.BaseURL, s.MaxWorkers, s.MaxTasks
	in.ConfineMode = s.Confine
	in.Confined = func() (bool, string, error) { return app.Confinement(s) }
	return in
}

func leftRuns() ([]doctor.Leftover, error) {
	runs, err := app.LeftRuns()
	var left []doctor.Leftover
	for _, r := range runs {
		left = append(left, doctor.Leftover{Run: filepath.Base(r.Folder), Processes: r.Processes})
	}
	return left, err
}
