package architecture_test

// room is one package and what its files, tests excepted, may import beside the
// standard library.
type room struct {
	// row names the rooms that stand beside each other, which never import each
	// other; "" for a room that stands alone.
	row string
	// may are packages of this module, below internal/.
	may []string
	// outside are packages of other modules, with all that is below them.
	outside []string
	// tests says that only tests, and other rooms of this kind, may import it.
	tests bool
}

const (
	jsonLibrary = "github.com/go-json-experiment/json"
	goleak      = "go.uber.org/goleak"
	pgx         = "github.com/jackc/pgx/v5"
	prometheus  = "github.com/prometheus/client_golang/prometheus"
)

// rooms is the table. A package that isn't in it fails the test, and so does a
// line without a package.
func rooms() map[string]room {
	// What every room on the walk of a request may know.
	walk := []string{"apierror", "gateway", "latency", "message", "trace"}

	return map[string]room{
		// The core, from the bottom up.
		"internal/apierror": {},
		"internal/latency":  {},
		"internal/trace":    {},
		"internal/sse":      {},
		"internal/retry":    {},
		// apierror: what message can't decode is the caller's fault, and the error
		// names the field (docs/adr/0001).
		"internal/message": {may: []string{"apierror"}, outside: []string{jsonLibrary}},
		"internal/pricing": {may: []string{"message"}, outside: []string{jsonLibrary}},
		"internal/budget":  {},
		"internal/gateway": {may: []string{"apierror", "budget", "latency", "message", "trace"}},

		// Keys, limits and the ledger; each declares its own Store.
		"internal/admission": {row: "owners", may: with(walk, "budget")},
		"internal/apikey":    {row: "owners", may: with(walk, "budget"), outside: []string{jsonLibrary}},
		"internal/usage":     {row: "owners", may: with(walk, "budget")},
		"internal/archive":   {row: "owners"},
		"internal/audit":     {row: "owners", may: with(walk)},

		// archive: it keeps what isn't delivered yet.
		"internal/webhook": {may: []string{"archive", "budget"}, outside: []string{jsonLibrary}},

		"internal/route": {may: with(walk, "pricing", "retry"), outside: []string{jsonLibrary}},

		// The backends. clipool drives claudecli's processes: the one import between
		// rooms that stand beside each other.
		"internal/claudecli":         {row: "backends", may: []string{"apierror", "confine", "message", "trace"}, outside: []string{jsonLibrary}},
		"internal/clipool":           {row: "backends", may: with(walk, "claudecli"), outside: []string{jsonLibrary}},
		"internal/anthropic":         {row: "backends", may: with(walk, "retry", "sse"), outside: []string{jsonLibrary}},
		"internal/claudecli/install": {},
		"internal/confine":           {outside: []string{"golang.org/x/sys/unix"}},

		// Agentic work, and what outlives a request. job's engine is generic over the
		// driver of a database, which app chooses.
		"internal/meter":      {may: with(walk, "budget"), outside: []string{jsonLibrary}},
		"internal/agent":      {may: with(walk, "claudecli", "confine", "meter"), outside: []string{jsonLibrary}},
		"internal/capability": {may: []string{"gateway"}, outside: []string{"go.yaml.in/yaml/v3", "github.com/fsnotify/fsnotify"}},
		"internal/job":        {row: "owners", may: with(walk), outside: []string{jsonLibrary, "github.com/riverqueue/river"}},
		"internal/task":       {may: with(walk, "agent", "job", "openapi", "protocol"), outside: []string{jsonLibrary}},
		"internal/session":    {may: with(walk, "agent", "archive"), outside: []string{jsonLibrary}},
		"internal/cluster":    {row: "owners"},

		// The protocols, and what they share over HTTP.
		"internal/openapi":      {outside: []string{jsonLibrary}},
		"internal/protocol":     {may: with(walk, "openapi", "sse"), outside: []string{jsonLibrary}},
		"internal/idempotency":  {may: with(walk, "archive", "protocol"), outside: []string{jsonLibrary}},
		"internal/anthropicapi": {row: "protocols", may: with(walk, "openapi", "protocol", "sse"), outside: []string{jsonLibrary}},
		"internal/openaiapi":    {row: "protocols", may: with(walk, "openapi", "protocol", "sse"), outside: []string{jsonLibrary}},
		"internal/responsesapi": {row: "protocols", may: with(walk, "archive", "openapi", "protocol", "sse"), outside: []string{jsonLibrary}},
		"internal/streamapi": {
			row: "protocols", may: with(walk, "job", "openapi", "protocol", "task"),
			outside: []string{jsonLibrary, "github.com/coder/websocket"},
		},
		"internal/taskapi":    {row: "protocols", may: with(walk, "capability", "job", "openapi", "protocol", "sse", "task"), outside: []string{jsonLibrary}},
		"internal/sessionapi": {row: "protocols", may: with(walk, "openapi", "protocol", "session"), outside: []string{jsonLibrary}},
		"internal/processapi": {row: "protocols", may: with(walk, "budget", "job", "openapi", "protocol", "sse", "usage"), outside: []string{jsonLibrary}},

		// Around the walk. httpserver gets the protocols' routes as functions, so it
		// knows none of them.
		"internal/httpserver": {may: []string{"apierror", "latency", "openapi", "trace"}, outside: []string{jsonLibrary}},
		"internal/telemetry":  {may: []string{"gateway", "latency"}, outside: []string{prometheus}},

		"internal/otlp": {
			may:     with(walk),
			outside: []string{jsonLibrary, "github.com/go-logr/logr", prometheus, "github.com/prometheus/client_model/go", "go.opentelemetry.io/otel"},
		},

		"internal/asset":    {},
		"internal/docspage": {may: []string{"asset"}, outside: []string{"github.com/swaggest/swgui/v5/static"}},

		// For those who run the service. What of the pool and the breakers they see and
		// do, app gives adminapi as functions.
		"internal/monitor": {may: with(walk)},
		"internal/adminapi": {
			may:     with(walk, "apikey", "archive", "audit", "budget", "job", "monitor", "openapi", "protocol", "sse", "task", "usage"),
			outside: []string{jsonLibrary},
		},
		"internal/dashboard": {may: []string{"asset"}},

		// The stores.
		"internal/sqlite": {
			row: "stores", may: with(walk, "apikey", "archive", "audit", "budget", "job", "usage"),
			outside: []string{"modernc.org/sqlite", "github.com/pressly/goose/v3", jsonLibrary, "github.com/riverqueue/river"},
		},
		"internal/postgres": {
			row: "stores", may: with(walk, "admission", "apikey", "archive", "audit", "budget", "cluster", "job", "usage"),
			outside: []string{pgx, "github.com/pressly/goose/v3", jsonLibrary, "github.com/riverqueue/river"},
		},

		// The Anthropic API imitated. The start-up probe, the demo and the
		// benchmark need it too, not only tests.
		// pricing: it refuses what each model refuses (docs/adr/0010).
		"internal/simulator": {may: []string{"message", "pricing", "sse"}, outside: []string{jsonLibrary}},

		// They look from outside: over HTTP, and at processes that they start themselves.
		"client":       {may: []string{"sse"}, outside: []string{jsonLibrary, "github.com/coder/websocket"}},
		"internal/top": {may: []string{"client"}, outside: []string{"charm.land/bubbletea/v2", "charm.land/lipgloss/v2", "github.com/charmbracelet/x/ansi"}},
		// SQLite: benchmark uses it as the former service did.
		"internal/benchmark": {may: []string{"client"}, outside: []string{jsonLibrary, "modernc.org/sqlite"}},
		"internal/doctor":    {may: []string{"claudecli/install", "client", "confine"}, outside: []string{jsonLibrary, "golang.org/x/sys/unix"}},

		// How it runs on a machine. deploy is files.
		"deploy":             {},
		"internal/manual":    {outside: []string{"github.com/alecthomas/kong"}},
		"internal/supervise": {may: []string{"deploy"}, outside: []string{jsonLibrary, "golang.org/x/sys/unix"}},

		// What people copy: it calls a service, as they do.
		"examples/go/batch":   {may: []string{"client"}},
		"examples/go/process": {may: []string{"client"}},
		"examples/go/task":    {may: []string{"client"}},

		// The program.
		"internal/config": {outside: []string{"github.com/alecthomas/kong", "go.yaml.in/yaml/v3"}},
		"internal/app": {
			may: with(
				walk, "adminapi", "admission", "agent", "anthropic", "anthropicapi", "apikey", "archive", "audit", "budget", "capability", "claudecli", "claudecli/install", "clipool", "cluster", "config", "confine",
				"dashboard", "docspage", "httpserver", "idempotency", "job", "meter", "monitor", "openaiapi", "openapi", "otlp", "postgres", "pricing", "processapi", "protocol", "responsesapi", "retry", "route", "session", "sessionapi", "simulator", "sqlite", "streamapi", "task", "taskapi", "telemetry", "trace", "usage", "webhook",
			),
			outside: []string{prometheus, "github.com/riverqueue/river", "github.com/coreos/go-systemd/v22"},
		},
		"cmd/claude-api": {
			// The commands for accounts, ledger and audit log work on the database, without
			// a service, and print what its rooms hold. The JSON library writes what they
			// print, YAML is what people write profiles in.
			may: []string{
				"admission", "apierror", "apikey", "app", "audit", "benchmark", "budget", "capability", "claudecli/install", "client", "config", "doctor", "gateway", "job", "latency", "manual", "simulator", "supervise", "top", "usage",
			},
			// x/term: whether somebody looks, and how wide their window is.
			outside: []string{"github.com/alecthomas/kong", "go.yaml.in/yaml/v3", jsonLibrary, "github.com/charmbracelet/x/term"},
		},

		// For tests.
		"internal/architecture":         {tests: true},
		"internal/postgres/pgtest":      {tests: true, outside: []string{pgx}},
		"internal/storetest":            {tests: true, may: with(walk, "apikey", "archive", "audit", "budget", "job", "usage"), outside: []string{jsonLibrary}},
		"internal/claudecli/clitest":    {tests: true, may: []string{"claudecli/install", "simulator"}, outside: []string{goleak}},
		"internal/otlp/otlptest":        {tests: true, outside: []string{"go.opentelemetry.io/proto/otlp", "google.golang.org/grpc", "google.golang.org/protobuf"}},
		"internal/chaostest":            {tests: true, may: []string{"simulator"}, outside: []string{jsonLibrary}},
		"internal/claudecli/fakeclaude": {tests: true, outside: []string{jsonLibrary}},
		"internal/protocol/protocoltest": {
			tests: true, may: with(walk, "openapi", "protocol", "sse"), outside: []string{jsonLibrary, "github.com/getkin/kin-openapi/openapi3"},
		},
	}
}

func with(list []string, more ...string) []string {
	return append(append([]string(nil), list...), more...)
}

// beside are the imports that are allowed between rooms of one row.
func beside(from, to string) bool {
	return from == "internal/clipool" && to == "internal/claudecli"
}
