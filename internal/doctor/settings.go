package doctor

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
)

func version(_ context.Context, in *Installation) []Finding {
	text := fmt.Sprintf("claude-api %s, %s/%s, %s", in.Program.Version, runtime.GOOS, runtime.GOARCH, in.Program.Path)
	if in.Program.Commit != "" {
		text += ", built from " + in.Program.Commit
	}
	info, err := os.Stat(in.Program.Path)
	if err == nil && info.Mode().Perm()&0o002 != 0 {
		return fail(text+": every user of this machine may replace the program", "chmod o-w "+in.Program.Path)
	}
	return ok(text)
}

// configuration says whether the service would start with its settings.
func configuration(_ context.Context, in *Installation) []Finding {
	file := "no configuration file"
	if in.File != "" {
		file = in.File
	}
	if in.SettingsError != nil {
		return fail(in.SettingsError.Error(), "correct the setting that it names; docs/configuration.md lists what each one takes")
	}
	if in.File == "" {
		return ok(file)
	}
	info, err := os.Stat(in.File)
	if err != nil {
		return fail(err.Error(), "make the file readable, or name another one with --config")
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fixed(
			fail(fmt.Sprintf("%s may be changed by others (%04o): who does, decides what the service starts", file, info.Mode().Perm()), "chmod go-w "+file),
			"take the right to change "+file+" from others", func() error { return os.Chmod(in.File, info.Mode().Perm()&^0o022) },
		)
	}
	return ok(file)
}

// settings tells where each value comes from that isn't the default.
func settings(_ context.Context, in *Installation) []Finding {
	if len(in.Settings) == 0 {
		return ok("all at their defaults")
	}
	var said []string
	var found []Finding
	for _, s := range in.Settings {
		said = append(said, fmt.Sprintf("%s=%s (%s)", s.Flag, s.Value, s.Source))
		if len(s.Unheard) > 0 {
			found = append(found, warn(
				fmt.Sprintf("%s is set more than once: %s is heard, %s isn't", s.Flag, s.Source, strings.Join(s.Unheard, ", ")),
				"set it in one place: flags go before variables, variables before the file, and new names before old ones",
			)...)
		}
	}
	return gather(nil, ok(strings.Join(said, ", ")), found)
}

// oldNames tells of the former service's variables.
func oldNames(_ context.Context, in *Installation) []Finding {
	var found []Finding
	for _, s := range in.Settings {
		if s.New != "" {
			found = append(found, warn(s.Source+" is the former service's name", "call it "+s.New+"; the old name goes on working")...)
		}
	}
	return gather(ok("none in use"), found)
}
