// Package wspush pushes.
package wspush
