// Package session keeps conversations on processes of their own, and beyond those.
package session
