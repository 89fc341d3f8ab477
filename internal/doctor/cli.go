package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"claude-code-api-service/internal/claudecli/install"
)

const installCLI = "npm install -g @anthropic-ai/claude-code, or name the binary with --claude-path"

func (in *Installation) direct() bool {
	return in.Credentials.APIKey != "" || in.Credentials.AuthToken != ""
}

// noCLI is why checks of the CLI have nothing to look at; nil: there is one.
func (in *Installation) noCLI() []Finding {
	switch {
	case in.CLIOff:
		return skip("the service runs without a CLI")
	case in.CLI == "":
		return skip("there is no CLI")
	}
	return nil
}

func cli(_ context.Context, in *Installation) []Finding {
	switch {
	case in.CLIOff && !in.direct():
		return fail("the service is to run without a CLI, and has no credential for the API: there is nothing to serve requests with", "set ANTHROPIC_API_KEY, or don't switch the CLI off")
	case in.CLIOff:
		return skip("the service runs without a CLI")
	case in.CLI == "" && in.direct():
		return warn("no Claude Code CLI is found: requests take the direct path alone, and there are no tasks", installCLI)
	case in.CLI == "":
		return fail("no Claude Code CLI is found, and there is no credential for the API: there is nothing to serve requests with", installCLI+"; or set ANTHROPIC_API_KEY")
	}
	info, err := os.Stat(in.CLI)
	switch {
	case err != nil:
		return fail(err.Error(), installCLI)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fail(in.CLI+" is no program that can be run", "chmod +x "+in.CLI+", or name the binary with --claude-path")
	case info.Mode().Perm()&0o002 != 0:
		return fail("every user of this machine may replace "+in.CLI, "chmod o-w "+in.CLI)
	}
	return ok(in.CLI)
}

// versionTimeout is how long the CLI may take to say its version.
const versionTimeout = 8 * time.Second

func cliVersion(ctx context.Context, in *Installation) []Finding {
	if none := in.noCLI(); none != nil {
		return none
	}
	if _, err := os.Stat(in.CLI); err != nil {
		return skip("the CLI can't be run")
	}
	version, err := askVersion(ctx, in)
	if err != nil {
		return fail("the CLI doesn't say its version: "+err.Error(), "run it by hand: "+in.CLI+" --version; then "+installCLI)
	}
	return judgeVersion(version)
}

func askVersion(ctx context.Context, in *Installation) (string, error) {
	home, err := os.MkdirTemp(in.TempDir, "claude-api-doctor-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(home) }()
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, in.CLI, "--version")
	cmd.Env = []string{"PATH=" + in.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "DISABLE_AUTOUPDATER=1", "DISABLE_TELEMETRY=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"}
	cmd.Dir, cmd.WaitDelay = home, time.Second
	output, err := cmd.Output()
	if err != nil {
		return "", err
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(output)), " ")
	if version == "" {
		return "", errors.New("it says nothing")
	}
	return version, nil
}

func judgeVersion(version string) []Finding {
	tested := install.OlderVersion + " and " + install.Version
	switch {
	case version == install.Version || version == install.OlderVersion:
		return ok(version + ", with which the service is tested")
	case compareVersions(version, install.OlderVersion) < 0:
		return warn(version+" is older than those that the service is tested with ("+tested+")", "npm install -g @anthropic-ai/claude-code@"+install.Version)
	}
	return okay("%s; the service is tested with %s, and finds out at its start what others can do (cli-probe)", version, tested)
}

// compareVersions compares x.y.z by numbers.
func compareVersions(a, b string) int {
	for {
		var left, right string
		left, a, _ = strings.Cut(a, ".")
		right, b, _ = strings.Cut(b, ".")
		l, _ := strconv.Atoi(left) // 0 for what is no number
		r, _ := strconv.Atoi(right)
		if l != r || a == "" && b == "" {
			return l - r
		}
	}
}

func cliProbe(ctx context.Context, in *Installation) []Finding {
	if none := in.noCLI(); none != nil {
		return none
	}
	if in.Probe == nil {
		return skip("there is nothing to probe it with")
	}
	mode, fresh, err := in.Probe(ctx)
	switch {
	case err != nil:
		return fail("the CLI can't be driven: "+err.Error(), "npm install -g @anthropic-ai/claude-code@"+install.Version)
	case fresh:
		return warn(mode+": each request takes a process of its own", "npm install -g @anthropic-ai/claude-code@"+install.Version+", whose workers serve many")
	}
	return ok(mode)
}

func loginFile(home string) string { return filepath.Join(home, ".claude", ".credentials.json") }

// credential looks at the shape of what the upstream is asked with. Nothing of it is
// told.
func credential(_ context.Context, in *Installation) []Finding {
	c := in.Credentials
	found := gather(nil, shape("ANTHROPIC_API_KEY", c.APIKey), shape("ANTHROPIC_AUTH_TOKEN", c.AuthToken))
	if c.APIKey != "" && c.AuthToken != "" {
		found = append(found, warn("ANTHROPIC_API_KEY and ANTHROPIC_AUTH_TOKEN are both set, and both are sent", "unset the one that isn't meant")...)
	}
	if len(found) > 0 {
		return found
	}
	switch {
	case in.direct():
		return ok("a credential is set, and looks like one")
	case in.ClaudeHome != "":
		return login(in.ClaudeHome)
	case in.CLIOff || in.CLI == "":
		return skip("there is none; see cli")
	}
	return fail("the CLI has no credential: its requests will be refused", "set ANTHROPIC_API_KEY, or --claude-home for a login of its own")
}

func login(home string) []Finding {
	_, err := os.Stat(loginFile(home))
	switch {
	case err == nil:
		return ok("the CLI has a login of its own in " + home)
	case !errors.Is(err, fs.ErrNotExist):
		return fail(err.Error(), "let the user who runs the service read it")
	case runtime.GOOS == "darwin":
		return ok("the CLI's login is in the keychain, if there is one; it isn't looked at")
	}
	return fail("the CLI isn't logged in there: "+loginFile(home)+" isn't there", "HOME="+home+" claude, then /login; or set ANTHROPIC_API_KEY")
}

// shape says what is wrong with a credential by its looks.
func shape(name, secret string) []Finding {
	switch {
	case secret == "":
		return nil
	case strings.ContainsAny(secret, " \t\r\n\"'"):
		return fail(name+" holds a space, a line's end or a quotation mark", "set it again, the text alone")
	case len(secret) < 20:
		return warn(name+" is shorter than any that Anthropic gives out", "set it again, whole; an imitation's may be as it likes")
	case name == "ANTHROPIC_API_KEY" && strings.HasPrefix(secret, "cc_"):
		return fail(name+" is a key of this service, not of its upstream", "set a key from console.anthropic.com")
	}
	return nil
}

const anthropicURL = "https://api.anthropic.com"

func upstream(ctx context.Context, in *Installation) []Finding {
	base := in.BaseURL
	if base == "" {
		base = anthropicURL
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fail("ANTHROPIC_BASE_URL is no http or https URL", "set it to the upstream's address, or unset it")
	}
	ip := net.ParseIP(u.Hostname())
	if local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback(); u.Scheme == "http" && !local {
		return fail("ANTHROPIC_BASE_URL is http to "+u.Host+": whoever is on the way can read the credential", "take https")
	}
	if !in.Online {
		return skip(u.Host + " isn't asked without --online")
	}
	return askUpstream(ctx, in, strings.TrimSuffix(base, "/"), u.Host)
}

// askUpstream asks for one model: that is free, and tells whether the credential holds.
func askUpstream(ctx context.Context, in *Installation, base, host string) []Finding {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/models?limit=1", http.NoBody)
	if err != nil {
		return fail("ANTHROPIC_BASE_URL is no http or https URL", "set it to the upstream's address, or unset it")
	}
	request.Header.Set("Anthropic-Version", "2023-06-01")
	if in.Credentials.APIKey != "" {
		request.Header.Set("X-Api-Key", in.Credentials.APIKey)
	}
	if in.Credentials.AuthToken != "" {
		request.Header.Set("Authorization", "Bearer "+in.Credentials.AuthToken)
	}
	// As the service does: no proxy, and no other host gets the credential.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	started := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return fail(host+" can't be reached: "+errors.Unwrap(err).Error(), "see whether this machine may connect there; the service uses no proxy")
	}
	defer func() { _ = response.Body.Close() }()
	text := fmt.Sprintf("%s answers %d in %d ms", host, response.StatusCode, time.Since(started).Milliseconds())
	switch {
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		if !in.direct() {
			return ok(text + ": it is reached; no credential is set here")
		}
		return fail(text+": it refuses the credential", "set one that holds, from console.anthropic.com")
	case response.StatusCode >= http.StatusInternalServerError:
		return warn(text, "see status.anthropic.com")
	}
	return ok(text)
}
