package agent

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
)

const (
	toolFetch = "WebFetch"
	inside    = "addresses of this machine and its network can't be fetched in this task"
)

// refusesFetch gives the reason why a page may not be fetched: it isn't of the web, but
// of this machine or its network, as far as its name says so. A shell that may be used
// freely could fetch it anyhow.
func refusesFetch(u use, shell bool) string {
	var input struct {
		URL string `json:"url"`
	}
	if json.Unmarshal(u.input, &input) != nil {
		return "the input can't be read"
	}
	if shell {
		return ""
	}
	target, err := url.Parse(strings.TrimSpace(input.URL))
	if err != nil {
		return "the address can't be read"
	}
	host := strings.ToLower(strings.TrimSuffix(target.Hostname(), "."))
	if address, err := netip.ParseAddr(host); err == nil {
		if address = address.Unmap(); !address.IsGlobalUnicast() || address.IsPrivate() {
			return inside
		}
		return ""
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	switch {
	case !strings.Contains(host, "."), last == "localhost", last == "local", last == "internal":
		return inside
	case strings.Trim(last, "0123456789") == "", strings.HasPrefix(last, "0x"):
		return inside // a form of an address that only some programs read
	}
	return ""
}
