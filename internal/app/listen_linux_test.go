package app

import (
	"net"
	"syscall"
	"testing"
)

// A caller whose machine has vanished is found in a minute: connections have the
// option from the socket that accepts them.
func TestHalfOpenConnectionsAreFound(t *testing.T) {
	all, err := listen(t.Context(), settings(t))
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(all)
	client, err := net.Dial("tcp", all[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	accepted, err := all[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string][3]int{
		"TCP_USER_TIMEOUT": {syscall.IPPROTO_TCP, tcpUserTimeout, 60_000},
		"SO_KEEPALIVE":     {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
	} {
		var got int
		if err := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), option[0], option[1]) }); err != nil {
			t.Fatal(err)
		}
		if got != option[2] {
			t.Errorf("%s = %d, want %d", name, got, option[2])
		}
	}
}
