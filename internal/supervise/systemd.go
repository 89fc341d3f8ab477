package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"claude-code-api-service/deploy"
)

// unitName is the service's among the units of systemd.
const unitName = "claude-api.service"

// systemd is the service as a unit.
type systemd struct {
	options Options
	user    bool // of the user's own manager
	root    string
}

func newSystemd(o Options, user bool) *systemd { return &systemd{options: o, user: user, root: "/"} }

// booted says whether systemd runs this machine (sd_booted(3)).
func booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// folder is where an operator's units are.
func (s *systemd) folder() string {
	if s.user {
		return filepath.Join(s.options.Home, ".config/systemd/user")
	}
	return filepath.Join(s.root, "etc/systemd/system")
}

// packaged is the unit of a package, "" where there is none.
func (s *systemd) packaged() string {
	for _, folder := range []string{"usr/lib/systemd", "lib/systemd"} {
		level := "system"
		if s.user {
			level = "user"
		}
		if path := filepath.Join(s.root, folder, level, unitName); exists(path) {
			return path
		}
	}
	return ""
}

func (s *systemd) installed() bool {
	return exists(filepath.Join(s.folder(), unitName)) || s.packaged() != ""
}

// ctl asks the manager.
func (s *systemd) ctl(words ...string) command {
	if s.user {
		return append(command{"systemctl", "--user"}, words...)
	}
	return append(command{"systemctl"}, words...)
}

// Start implements Manager.
func (s *systemd) Start(ctx context.Context) (Status, error) {
	now, err := s.Status(ctx)
	if err != nil {
		return now, err
	}
	if now.State == Running {
		return now, fmt.Errorf("%w: process %d", ErrRunning, now.PID)
	}
	if _, err := s.ctl("start", unitName).run(ctx); err != nil {
		return now, fmt.Errorf("%w\nWhy: %s", err, s.journal(20, false))
	}
	return s.Status(ctx)
}

// Stop implements Manager.
func (s *systemd) Stop(ctx context.Context) error {
	now, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if now.State == Stopped {
		return ErrStopped
	}
	_, err = s.ctl("stop", unitName).run(ctx)
	return err
}

// states are systemd's of a unit, in our words.
var states = map[string]string{
	"active": Running, "reloading": Running, "activating": Starting, "deactivating": Stopping, "inactive": Stopped, "failed": Failed,
}

// Status implements Manager.
func (s *systemd) Status(ctx context.Context) (Status, error) {
	out, err := s.ctl("show", unitName, "--property=ActiveState,SubState,MainPID,StatusText,ActiveEnterTimestamp", "--timestamp=unix").run(ctx)
	if err != nil {
		return Status{}, err
	}
	return s.read(out), nil
}

// read reads what systemctl show prints: NAME=VALUE lines.
func (s *systemd) read(out string) Status {
	values := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = value
	}
	status := Status{Manager: "systemd", State: states[values["ActiveState"]], Detail: values["StatusText"], URL: urlOf(values["StatusText"]), Log: s.journal(100, false).String()}
	if s.user {
		status.Manager = "systemd, for this user"
	}
	if status.State == "" {
		status.State = values["ActiveState"]
	}
	if status.State != Running {
		status.Detail = values["SubState"]
	}
	status.PID, _ = strconv.Atoi(values["MainPID"]) // 0 where there is none
	if began, err := strconv.ParseInt(strings.TrimPrefix(values["ActiveEnterTimestamp"], "@"), 10, 64); err == nil && status.State == Running {
		status.Since = time.Unix(began, 0).UTC()
	}
	return status
}

// journal reads the unit's log.
func (s *systemd) journal(lines int, follow bool) command {
	c := command{"journalctl", "--unit=" + unitName}
	if s.user {
		c = command{"journalctl", "--user-unit=" + unitName}
	}
	c = append(c, "--no-pager", "--lines="+strconv.Itoa(lines))
	if follow {
		c = append(c, "--follow")
	}
	return c
}

// Logs implements Manager.
func (s *systemd) Logs(ctx context.Context, w io.Writer, lines int, follow bool) error {
	return s.journal(lines, follow).show(ctx, w)
}

// install plans the unit. apiKeyFile is the file with the upstream's credential, "" for
// none, or for the system's default place.
func (s *systemd) install(apiKeyFile string) (*Plan, error) {
	if path := s.packaged(); path != "" {
		return nil, fmt.Errorf("a package has installed it already: %s; systemctl edit claude-api changes its settings", path)
	}
	if s.user {
		return s.installUser(apiKeyFile)
	}
	unit, err := s.adapt(deploy.SystemUnit, apiKeyFile)
	if err != nil {
		return nil, err
	}
	for _, hidden := range []string{"/home", "/root", "/run/user", os.TempDir(), "/tmp", "/var/tmp"} {
		if within(hidden, s.options.Program) {
			return nil, fmt.Errorf("%s isn't seen by the service, from which %s is hidden: put the program into /usr/local/bin, and install it from there", s.options.Program, hidden)
		}
	}
	settings := filepath.Join(s.root, "etc/claude-api/config.yaml")
	if s.options.Config != "" && s.options.Config != settings {
		return nil, fmt.Errorf("--config: the unit of the system reads %s: put the settings there", settings)
	}
	return &Plan{
		files: []file{
			{path: filepath.Join(s.folder(), unitName), text: unit},
			{path: filepath.Join(s.folder(), "claude-api.socket"), text: deploy.SystemSocket},
			{path: filepath.Join(s.root, "etc/sysusers.d/claude-api.conf"), text: deploy.SystemUser},
			{path: settings, text: deploy.Config, keep: true},
		},
		commands: []command{{"systemd-sysusers"}, s.ctl("daemon-reload"), s.ctl("enable", unitName)},
		Next:     "The credential for the upstream belongs into /etc/claude-api/anthropic-api-key, readable by root alone. Then: claude-api service start",
	}, nil
}

func (s *systemd) installUser(apiKeyFile string) (*Plan, error) {
	unit, err := s.adapt(deploy.UserUnit, apiKeyFile)
	if err != nil {
		return nil, err
	}
	return &Plan{
		files:    []file{{path: filepath.Join(s.folder(), unitName), text: unit}},
		commands: []command{s.ctl("daemon-reload"), s.ctl("enable", unitName)},
		Next:     "claude-api service start starts it now. It runs while you are logged in; loginctl enable-linger has it run from the machine's start on.",
	}, nil
}

const (
	execLine = "ExecStart=" + deploy.Program + " serve\n"
	// credential is the name under which the unit gets it.
	credential = "anthropic-api-key"
)

// adapt puts this machine's paths into a unit.
func (s *systemd) adapt(unit, apiKeyFile string) (string, error) {
	// systemd takes no program whose path holds one of these, and expands no variable in it.
	if strings.ContainsAny(s.options.Program, `"'\\`) {
		return "", fmt.Errorf("%s: systemd starts no program with such a path", s.options.Program)
	}
	program, err := quoteWord(s.options.Program)
	if err != nil {
		return "", err
	}
	program = strings.ReplaceAll(program, "$$", "$")
	start := "ExecStart=" + program + " serve"
	if s.user {
		data, err := quoteWord("--data-dir=" + s.options.DataDir)
		if err != nil {
			return "", err
		}
		start += " " + data
		if s.options.Config != "" {
			setting, err := quoteWord("CLAUDE_API_CONFIG=" + s.options.Config)
			if err != nil {
				return "", err
			}
			start = "Environment=" + strings.ReplaceAll(setting, "$$", "$") + "\n" + start
		}
	}
	if apiKeyFile != "" {
		if strings.ContainsAny(apiKeyFile, ":\n\r\x00") || !filepath.IsAbs(apiKeyFile) {
			return "", fmt.Errorf("%q can't be the path of a credential", apiKeyFile)
		}
		path := strings.ReplaceAll(apiKeyFile, "%", "%%")
		if s.user {
			start += "\nLoadCredential=" + credential + ":" + path + "\nEnvironment=ANTHROPIC_API_KEY_FILE=%d/" + credential
		} else {
			unit = strings.Replace(unit, "LoadCredential="+credential+":/etc/claude-api/anthropic-api-key\n", "LoadCredential="+credential+":"+path+"\n", 1)
		}
	}
	if !strings.Contains(unit, execLine) {
		return "", errors.New("the unit starts something else")
	}
	return strings.Replace(unit, execLine, start+"\n", 1), nil
}

// quoteWord writes a word of a command line as systemd.service(5) reads it.
func quoteWord(word string) (string, error) {
	if strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%q can't be in a unit", word)
	}
	quoted := strings.NewReplacer("%", "%%", "$", "$$", `\`, `\\`, `"`, `\"`).Replace(word)
	if quoted == word && !strings.ContainsAny(word, " ';") {
		return word, nil
	}
	return `"` + quoted + `"`, nil
}

// within says whether a path lies in a folder.
func within(folder, path string) bool {
	rest, err := filepath.Rel(folder, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, "../")
}

// uninstall plans the removal of what install has written, but for settings.
func (s *systemd) uninstall() (*Plan, error) {
	unit := filepath.Join(s.folder(), unitName)
	if !exists(unit) {
		if path := s.packaged(); path != "" {
			return nil, fmt.Errorf("a package has installed it: %s; remove the package", path)
		}
		return nil, fmt.Errorf("it isn't installed: there is no %s", unit)
	}
	units := []string{unitName}
	plan := &Plan{removed: []string{unit}, commands: []command{s.ctl("daemon-reload")}, Next: "Data and settings are left."}
	if socket := filepath.Join(s.folder(), "claude-api.socket"); !s.user && exists(socket) {
		units = append([]string{"claude-api.socket"}, units...) // else it would start the service
		plan.removed = append(plan.removed, socket, filepath.Join(s.root, "etc/sysusers.d/claude-api.conf"))
		plan.Next = "Data, settings and the user claude-api are left."
	}
	plan.before = []command{s.ctl(append([]string{"disable", "--now"}, units...)...)}
	return plan, nil
}
