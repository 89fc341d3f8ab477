package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Data is where the service keeps its data; the commands that work on it take
// the same flags.
type Data struct {
	DataDir     string `help:"Folder for the service's data." default:"${data_dir}" env:"CLAUDE_API_DATA_DIR"`
	DBPath      string `name:"db-path" help:"The SQLite file; empty: claude-api.db in the data folder." env:"CLAUDE_API_DB_PATH,DB_PATH"`
	Synchronous string `help:"SQLite's synchronous setting: NORMAL survives kill -9, FULL also power loss." default:"NORMAL" enum:"NORMAL,FULL" env:"CLAUDE_API_SYNCHRONOUS"`
	// DatabaseURL is a Secret because most hold a password.
	DatabaseURL     Secret `name:"database-url" help:"A PostgreSQL database to use instead of SQLite: postgres://user:password@host:port/database. The list of processes shows flags: better set the variable, or --database-url-file." env:"CLAUDE_API_DATABASE_URL"`
	DatabaseURLFile string `name:"database-url-file" help:"File that holds the URL of --database-url." env:"CLAUDE_API_DATABASE_URL_FILE"`
}

// Database is the path of the SQLite file.
func (d *Data) Database() string {
	if d.DBPath != "" {
		return d.DBPath
	}
	return filepath.Join(d.DataDir, "claude-api.db")
}

// Validate reads --database-url-file into DatabaseURL, and checks the URL. It names
// the flag at fault, never the URL. It may be called again.
func (d *Data) Validate() error {
	flag := "--database-url"
	if d.DatabaseURLFile != "" {
		if d.DatabaseURL != "" {
			return errors.New("--database-url: --database-url-file is set too; which one?")
		}
		flag = "--database-url-file"
		text, err := os.ReadFile(d.DatabaseURLFile)
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		held := strings.TrimSpace(string(text))
		if held == "" {
			return fmt.Errorf("%s: the file is empty", flag)
		}
		d.DatabaseURL, d.DatabaseURLFile = Secret(held), ""
	}
	if d.DatabaseURL == "" {
		return nil
	}
	text := d.DatabaseURL.Reveal()
	// What the parser says repeats parts of the URL.
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "" || ambiguous(text, u) {
		return fmt.Errorf("%s: must be the URL of a PostgreSQL database, postgres://user:password@host:port/database (what a URL doesn't take in a password is written as %%XX)", flag)
	}
	return nil
}

// ambiguous says that an @, / or ? in a password isn't written as %XX: then parts
// of it are taken for a host or a database, and would be in errors.
func ambiguous(text string, u *url.URL) bool {
	front, _, _ := strings.Cut(text, "?")
	return strings.Count(front, "@") > 1 || strings.Contains(text, "@") && u.User == nil
}
