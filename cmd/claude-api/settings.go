package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/doctor"
)

// settingsRead are the settings that serve would have, and where they come from.
type settingsRead struct {
	serve    serveCommand
	err      error // why serve wouldn't start with them
	unread   bool  // nothing is known of them
	file     string
	settings []doctor.Setting
	files    []string // that hold secrets
}

// readSettings reads the command line of serve as serve would.
func readSettings(args []string) *settingsRead {
	r := &settingsRead{file: configPath(args)}
	if r.file == "" {
		path := filepath.Join(config.DefaultDataDir(), "config.yaml")
		if _, err := os.Stat(path); err == nil {
			r.file = path
		}
	}
	var c commands
	parser, err := newParser(&c, args)
	var parsed *kong.Context
	if err == nil {
		parsed, err = parser.Parse(joinNegative(args))
	}
	var wrong *kong.ParseError
	if errors.As(err, &wrong) && c.Serve.DataDir != "" {
		// Every value was read, and one isn't valid.
		r.err, parsed, err = err, wrong.Context, nil
	}
	file, readErr := config.ReadFile(configPath(args))
	if err = errors.Join(err, readErr); err != nil {
		r.err, r.unread = err, true
		return r
	}
	r.settings = origins(parsed, file, r.file)
	r.serve = c.Serve
	for _, s := range r.settings {
		if s.Flag == "--database-url-file" {
			r.files = append(r.files, s.Value)
		}
	}
	for _, path := range []string{
		os.Getenv("ANTHROPIC_API_KEY_FILE"), os.Getenv("ANTHROPIC_AUTH_TOKEN_FILE"), os.Getenv("CLAUDE_API_WEBHOOK_SECRET_FILE"),
	} {
		if path != "" {
			r.files = append(r.files, path)
		}
	}
	if err := r.serve.complete(); r.err == nil {
		r.err = err
	}
	if r.err == nil {
		r.err = app.CheckSettings(&r.serve.Config)
	}
	if r.serve.Listen == "" { // it is completed by Validate, unless something else is wrong
		port := r.serve.Port
		if port <= 0 || port > 65535 {
			port = config.DefaultPort
		}
		r.serve.Listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	return r
}

// origins tells of each setting that isn't at its default who set it.
func origins(parsed *kong.Context, file *config.File, path string) []doctor.Setting {
	given := map[*kong.Flag]bool{}
	for _, step := range parsed.Path {
		if step.Flag != nil && !step.Resolved {
			given[step.Flag] = true
		}
	}
	var settings []doctor.Setting
	for _, flag := range parsed.Selected().Flags {
		s := doctor.Setting{Flag: "--" + flag.Name}
		set := slices.DeleteFunc(slices.Clone(flag.Envs), func(name string) bool { return os.Getenv(name) == "" })
		inFile, fromFile := file.Setting(flag.Name)
		switch {
		case given[flag]:
			s.Source, s.Value = s.Flag, flagText(parsed.FlagValue(flag))
		case len(set) > 0:
			s.Source, s.Value = set[0], os.Getenv(set[0])
			if set[0] != flag.Envs[0] {
				s.New = flag.Envs[0]
			}
			for _, other := range set[1:] {
				if os.Getenv(other) != s.Value {
					s.Unheard = append(s.Unheard, other)
				}
			}
		case fromFile:
			s.Source, s.Value = path, inFile
		default:
			continue
		}
		if _, secret := flag.Target.Interface().(config.Secret); secret {
			s.Value = config.Secret(s.Value).String()
		}
		settings = append(settings, s)
	}
	settings = portUnheard(settings)
	for _, name := range []string{"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_API_WEBHOOK_SECRET"} {
		if os.Getenv(name) != "" {
			settings = append(settings, doctor.Setting{Flag: name, Value: config.Secret("x").String(), Source: "environment"})
		} else if from := os.Getenv(name + "_FILE"); from != "" {
			settings = append(settings, doctor.Setting{Flag: name + "_FILE", Value: from, Source: "environment"})
		}
	}
	if url := os.Getenv("ANTHROPIC_BASE_URL"); url != "" {
		settings = append(settings, doctor.Setting{Flag: "ANTHROPIC_BASE_URL", Value: withoutUser(url), Source: "environment"})
	}
	return settings
}

// withoutUser takes out of a URL what may be a password.
func withoutUser(url string) string {
	scheme, rest, found := strings.Cut(url, "://")
	if at := strings.LastIndexByte(rest, '@'); found && at >= 0 {
		rest = rest[at+1:]
	}
	return scheme + "://" + rest
}

// flagText is a flag's value as a person writes it.
func flagText(value any) string {
	switch v := value.(type) {
	case config.Seconds:
		return v.Duration().String()
	case []string:
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}

// portUnheard tells of a port that --listen makes needless.
func portUnheard(settings []doctor.Setting) []doctor.Setting {
	at := func(flag string) int {
		return slices.IndexFunc(settings, func(s doctor.Setting) bool { return s.Flag == flag })
	}
	listen, port := at("--listen"), at("--port")
	if listen >= 0 && port >= 0 {
		settings[listen].Unheard = append(settings[listen].Unheard, settings[port].Source)
	}
	return settings
}
