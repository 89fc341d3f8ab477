// Package cluster knows the nodes that share a database: each is a member for as long as it
// says so in time.
package cluster
