package main

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/simulator"
)

// TestScripts runs the command line as a person does. A script's PATH holds
// claude-api and nothing else, so that no CLI of this machine is found.
func TestScripts(t *testing.T) {
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = []string{
				"WORK=" + env.WorkDir, "PATH=" + filepath.Dir(path),
				"HOME=" + filepath.Join(env.WorkDir, "home"), "TMPDIR=" + filepath.Join(env.WorkDir, ".tmp"), "TZ=UTC", noRaceSleep,
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"keep": keep, "seed": seed, "exits": exits, "serving": serving,
		},
	})
}

// keep NAME N puts the Nth word (from 1) of the last command's output into a
// variable, without the … of what is shortened.
func keep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep NAME N")
	}
	words := strings.Fields(ts.ReadFile("stdout"))
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 || n > len(words) {
		ts.Fatalf("the output has %d words", len(words))
	}
	ts.Setenv(args[0], strings.TrimSuffix(words[n-1], "…"))
}

// exits CODE PROGRAM ARG... runs a program, which must end with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("%q is no exit code", args[0])
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v: %v", args[1:], err)
		}
		code = ended.ExitCode()
	}
	if code != want {
		ts.Fatalf("%v ends with %d, want %d", args[1:], code, want)
	}
}

// serving [FLAG...] has a service serve the rest of the script, on an imitated upstream and
// without a CLI; the variables have its address, a key, and one that administers it.
func serving(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serving [FLAG...]")
	}
	imitation := simulator.New(simulator.Options{})
	upstream, err := imitation.Start("127.0.0.1:0")
	ts.Check(err)
	ts.Defer(imitation.Close)
	var c commands
	parser, err := newParser(&c, nil)
	ts.Check(err)
	_, err = parser.Parse(append([]string{"serve", "--listen=127.0.0.1:0", "--claude-path=off", "--data-dir=" + ts.MkAbs("serving")}, args...))
	ts.Check(err)
	c.Serve.Anthropic = config.Anthropic{BaseURL: upstream, APIKey: plantedKey}
	service, err := app.New(context.Background(), &c.Serve.Config, slog.New(slog.DiscardHandler))
	ts.Check(err)
	ts.Defer(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what still runs is cut off
		_ = service.Stop(ctx)
	})
	ts.Check(service.Start(context.Background()))
	ts.Setenv("CLAUDE_API_URL", service.URL())
	for name, wish := range map[string]apikey.Create{
		keyVariable: {ProjectID: "p", RequestsPerMinute: new(int), Profile: "enterprise"}, adminKeyVariable: {ProjectID: "p", Admin: true, RequestsPerMinute: new(int)},
		"FEW": {ProjectID: "p", RequestsPerMinute: new(1)},
	} {
		text, _, err := service.Keys().Create(context.Background(), wish)
		ts.Check(err)
		ts.Setenv(name, text)
	}
}
