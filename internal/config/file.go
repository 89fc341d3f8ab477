package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// FileVariable names the configuration file in the environment.
const FileVariable = "CLAUDE_API_CONFIG"

// File is a configuration file: flags that neither the command line nor the
// environment sets take their value from it.
type File struct {
	path   string
	values map[string]any
}

// ReadFile reads the file that is named, or config.yaml in the default data
// folder when none is named and that exists.
func ReadFile(path string) (*File, error) {
	named := path != ""
	if !named {
		path = filepath.Join(DefaultDataDir(), "config.yaml")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		if !named && errors.Is(err, fs.ErrNotExist) {
			return &File{}, nil
		}
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	file := &File{path: path}
	if err := yaml.Unmarshal(data, &file.values); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	file.ungroup("pool")
	return file, nil
}

// ungroup lets the settings of a group be written below its name as well:
// "pool: {reuse: never}" is "pool_reuse: never".
func (f *File) ungroup(group string) {
	members, ok := f.values[group].(map[string]any)
	if !ok {
		return // Validate refuses it
	}
	delete(f.values, group)
	for name, value := range members {
		f.values[group+"_"+name] = value
	}
}

// Validate refuses names in the file that are no flag of any command, so that a
// misspelt one isn't ignored. It implements kong.Resolver.
func (f *File) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, flag := range n.Flags {
			known[flag.Name] = true
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(app.Node)
	for name := range f.values {
		if !known[flagName(name)] {
			return fmt.Errorf("%s: unknown setting %q", f.path, name)
		}
	}
	return nil
}

// Resolve gives a flag its value from the file, unless a variable sets it. A
// setting without a value sets nothing. It implements kong.Resolver.
func (f *File) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if slices.ContainsFunc(flag.Envs, func(name string) bool { _, set := os.LookupEnv(name); return set }) {
		return nil, nil
	}
	for name, value := range f.values {
		if flagName(name) == flag.Name && value != nil {
			return text(value), nil
		}
	}
	return nil, nil
}

// Setting gives what the file says of a flag, as text, and whether it says anything.
func (f *File) Setting(flag string) (value string, set bool) {
	for name, value := range f.values {
		if flagName(name) == flag && value != nil {
			return fmt.Sprint(text(value)), true
		}
	}
	return "", false
}

func flagName(name string) string { return strings.ReplaceAll(name, "_", "-") }

// text writes lists and maps as the flags take them.
func text(value any) any {
	switch v := value.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = fmt.Sprint(e)
		}
		return strings.Join(parts, ",")
	case map[string]any:
		parts := make([]string, 0, len(v))
		for name, e := range v {
			parts = append(parts, name+"="+fmt.Sprint(e))
		}
		slices.Sort(parts)
		return strings.Join(parts, ";")
	}
	return fmt.Sprint(value)
}
