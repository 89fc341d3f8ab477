package claudecli

import (
	"fmt"
	"path/filepath"
	"strings"

	"claude-code-api-service/internal/confine"
)

// policies is where an operator's policies for all users of the CLI are.
const policies = "/etc/claude-code"

// rules are what the process may do: run itself, read what that needs, write in its
// folder. It can't start other programs, unless the CLI is a script. The network
// is open to it.
func (o *Options) rules(program, folder string) (confine.Rules, error) {
	rules, err := confine.Program(program)
	if err != nil {
		return confine.Rules{}, err
	}
	rules.Add(confine.Machine())
	rules.Add(confine.Rules{Read: []string{policies}, Write: []string{folder}})
	if o.Home != "" {
		// Not the whole of it: it may be the operator's own, with the data folder in it.
		// The login's tokens are in the folder. The file is only read, since the CLI
		// replaces it by way of others beside it, and several processes would write over
		// each other if they wrote into it.
		rules.Write = append(rules.Write, filepath.Join(o.Home, ".claude"))
		rules.Read = append(rules.Read, filepath.Join(o.Home, ".claude.json"))
	}
	for _, pair := range o.Env {
		// A file or folder that the operator tells the CLI of is meant for it.
		switch name, value, _ := strings.Cut(pair, "="); {
		case !filepath.IsAbs(value):
		case name == "CLAUDE_CONFIG_DIR":
			rules.Write = append(rules.Write, value)
		case namesFile(name):
			rules.Read = append(rules.Read, value)
		}
	}
	return rules, nil
}

// namesFile says whether a variable of that name tells the CLI of a file or folder.
func namesFile(name string) bool {
	for _, end := range [...]string{"_FILE", "_DIR", "_CERTS", "_CERT", "_KEY", "_CREDENTIALS"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// check refuses what a process can't be given. The kernel would too, but without
// saying which.
func (o *Options) check() error {
	for name, value := range map[string]string{
		"path": o.Path, "model": o.Model, "home": o.Home, "base URL": o.BaseURL, "API key": o.APIKey, "auth token": o.AuthToken, "marker": o.Marker,
	} {
		if strings.ContainsRune(value, 0) {
			return fmt.Errorf("the %s holds a NUL", name)
		}
	}
	for _, pair := range o.Env {
		if name, _, _ := strings.Cut(pair, "="); strings.ContainsRune(pair, 0) {
			return fmt.Errorf("the variable %q holds a NUL", name)
		}
	}
	return nil
}
