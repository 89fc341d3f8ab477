// Package clienttest_test proves that real clients work unchanged against the
// service: the official SDKs for Node.js and Go, the Vercel AI SDK, LangChain, a
// WebSocket client and plain HTTP, each on both backends. One service runs in
// this process, with the real CLI, and a simulator of the Anthropic API is the
// upstream of both backends.
//
// The clients for Node.js and their checks stand in the folder clients; each
// check prints a line of JSON. Those for Go stand here. A check that is declared
// in this package and doesn't run fails, and so does one that runs and isn't
// declared. What a client lacks, and what the service refuses on purpose, is
// declared with its reason. The table of it all is docs/compatibility.md, which
// must be what the run gives:
//
//	make test-clients
//	go test ./internal/clienttest -clients -update
package clienttest_test
