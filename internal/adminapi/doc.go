// Package adminapi serves those who administer the service, below /admin/v1: what it
// does, its keys, money, audit log and tasks, and a playground. Callers present an admin
// key, or the cookie of a session that one has opened. The dashboard and the commands
// that act on a running service are built on it.
package adminapi
