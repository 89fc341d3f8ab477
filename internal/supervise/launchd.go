package supervise

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"claude-code-api-service/deploy"
)

// label is the service's name among launchd's.
const label = "local.claude-api"

// launchd is the service as an agent of one user.
type launchd struct {
	options    Options
	plist, log string
	domain     string // of the user's graphical session
}

func newLaunchd(o Options) *launchd {
	return &launchd{
		options: o, plist: filepath.Join(o.Home, "Library/LaunchAgents", label+".plist"), log: filepath.Join(o.Home, "Library/Logs/claude-api.log"),
		domain: "gui/" + strconv.Itoa(os.Getuid()),
	}
}

func (l *launchd) target() string { return l.domain + "/" + label }

// Start implements Manager. launchd doesn't say whether the service serves.
func (l *launchd) Start(ctx context.Context) (Status, error) {
	now, err := l.Status(ctx)
	if err != nil {
		return now, err
	}
	if now.State == Running {
		return now, fmt.Errorf("%w: process %d", ErrRunning, now.PID)
	}
	// What isn't loaded runs as soon as it is.
	start := command{"launchctl", "bootstrap", l.domain, l.plist}
	if now.State != Stopped {
		start = command{"launchctl", "kickstart", l.target()}
	}
	if _, err := start.run(ctx); err != nil {
		return now, err
	}
	return l.Status(ctx)
}

// Stop implements Manager. Told to stop alone, launchd would start it again.
func (l *launchd) Stop(ctx context.Context) error {
	now, err := l.Status(ctx)
	if err != nil {
		return err
	}
	if now.State == Stopped {
		return ErrStopped
	}
	_, err = command{"launchctl", "bootout", l.target()}.run(ctx)
	return err
}

var (
	statePattern = regexp.MustCompile(`(?m)^\tstate = (.+)$`)
	pidPattern   = regexp.MustCompile(`(?m)^\tpid = (\d+)$`)
)

// Status implements Manager.
func (l *launchd) Status(ctx context.Context) (Status, error) {
	status := Status{Manager: "launchd", State: Stopped, Log: l.log}
	out, err := command{"launchctl", "print", l.target()}.run(ctx)
	if refused(err) {
		return status, nil // it isn't loaded
	}
	if err != nil {
		return status, err
	}
	status.State = Failed // loaded, and not running
	if found := statePattern.FindStringSubmatch(out); found != nil {
		status.Detail = found[1]
		if found[1] == "running" {
			status.State, status.Detail = Running, ""
		}
	}
	if found := pidPattern.FindStringSubmatch(out); found != nil {
		status.PID, _ = strconv.Atoi(found[1]) // it is a number
	}
	return status, nil
}

// Logs implements Manager.
func (l *launchd) Logs(ctx context.Context, w io.Writer, lines int, follow bool) error {
	return tail(ctx, w, l.log, lines, follow)
}

// pair is a variable of the environment.
type pair struct{ Name, Value string }

// install plans the agent. apiKeyFile is the file with the upstream's credential, ""
// for none.
func (l *launchd) install(apiKeyFile string) (*Plan, error) {
	t, err := template.New("plist").Funcs(template.FuncMap{"xml": escape}).Parse(deploy.LaunchAgent)
	if err != nil {
		return nil, err
	}
	// launchd gives programs a path without what people install.
	environment := []pair{{"PATH", "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}}
	if l.options.Config != "" {
		environment = append(environment, pair{"CLAUDE_API_CONFIG", l.options.Config})
	}
	if apiKeyFile != "" {
		environment = append(environment, pair{"ANTHROPIC_API_KEY_FILE", apiKeyFile})
	}
	var text strings.Builder
	if err := t.Execute(&text, map[string]any{
		"Label": label, "Log": l.log, "Environment": environment,
		"Arguments": []string{l.options.Program, "serve", "--data-dir=" + l.options.DataDir},
	}); err != nil {
		return nil, err
	}
	return &Plan{
		files: []file{{path: l.plist, text: text.String()}},
		Next:  "claude-api service start starts it now, and launchd whenever you log in.",
	}, nil
}

func escape(text string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(text))
	return b.String(), err
}

// uninstall plans the agent's end.
func (l *launchd) uninstall(ctx context.Context) (*Plan, error) {
	if !exists(l.plist) {
		return nil, fmt.Errorf("it isn't installed: there is no %s", l.plist)
	}
	plan := &Plan{removed: []string{l.plist}, Next: "Data, settings and the log are left."}
	if now, err := l.Status(ctx); err != nil {
		return nil, err
	} else if now.State != Stopped {
		plan.before = []command{{"launchctl", "bootout", l.target()}}
	}
	return plan, nil
}
