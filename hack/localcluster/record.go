// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// record is what is written down about a cluster, for those who open it and for those who clean up after a crash. It is
// stored before the first thing is made and removed after the last is gone.
type record struct {
	Name     string `json:"name"`
	StateDir string `json:"stateDir"`
	// Owner is the process the cluster belongs to; none for one that was detached.
	Owner process `json:"owner"`
	// Supervisor is the first process of the cluster's namespaces.
	Supervisor process           `json:"supervisor"`
	Slot       slot              `json:"slot"`
	Node       bool              `json:"node"`
	AWS        bool              `json:"aws"`
	Vault      bool              `json:"vault"`
	Fast       bool              `json:"fast"`
	Durable    bool              `json:"durable"`
	BinDir     string            `json:"binDir"`
	Binaries   map[string]string `json:"binaries"`
}

func (r record) programs() programs { return programs{dir: r.BinDir, paths: r.Binaries} }

func (r record) file() string { return filepath.Join(stateBase(), r.Name+".json") }

func (r record) path(name ...string) string {
	return filepath.Join(append([]string{r.StateDir}, name...)...)
}

// alive tells whether the cluster belongs to somebody: to a running process, or, when detached, to itself.
func (r record) alive() bool {
	if r.Owner.PID != 0 {
		return r.Owner.alive()
	}
	return r.Supervisor.alive()
}

// save replaces the record in one step.
func (r record) save() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temporary := r.file() + ".tmp"
	if err := os.WriteFile(temporary, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, r.file())
}

func loadRecord(name string) (record, error) {
	b, err := os.ReadFile(record{Name: name}.file())
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w", record{Name: name}.file(), err)
	}
	return r, nil
}

func loadRecords() ([]record, error) {
	files, err := filepath.Glob(filepath.Join(stateBase(), "*.json"))
	if err != nil {
		return nil, err
	}
	var all []record
	for _, f := range files {
		r, err := loadRecord(strings.TrimSuffix(filepath.Base(f), ".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its cluster went away meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// spaceForState is what etcd, the logs and a few small images take.
const spaceForState = 1 << 30

// claim takes the cluster's name for this process, after removing what dead owners left behind.
func claim(ctx context.Context, o Options, p programs) (record, error) {
	if err := os.MkdirAll(stateBase(), 0o700); err != nil {
		return record{}, err
	}
	unlock, err := lockDir(ctx, stateBase(), func() {})
	if err != nil {
		return record{}, err
	}
	defer unlock()
	if err := sweep(ctx, o); err != nil {
		return record{}, err
	}
	if r, err := loadRecord(o.Name); err == nil {
		return record{}, fmt.Errorf("cluster %q is there already, of process %d; stop it with `go run ./hack/cluster down --name %s`, or choose another name",
			o.Name, max(r.Owner.PID, r.Supervisor.PID), o.Name)
	}
	if entries, err := os.ReadDir(o.StateDir); err == nil && len(entries) > 0 {
		return record{}, fmt.Errorf("the state directory %s is not empty; remove it, or name another one", o.StateDir)
	}
	if free, err := freeSpace(stateBase()); err == nil && free < spaceForState {
		return record{}, fmt.Errorf("only %d MB are free below %s; a cluster wants %d MB at least", free>>20, stateBase(), spaceForState>>20)
	}
	owner, err := processOf(os.Getpid())
	if err != nil {
		return record{}, err
	}
	r := record{
		Name: o.Name, StateDir: o.StateDir, Owner: owner, Node: o.Node, AWS: o.AWS, Vault: o.Vault, Fast: o.Fast, Durable: o.Durable,
		BinDir: p.dir, Binaries: p.paths,
	}
	return r, r.save()
}

// sweep removes clusters whose owner died without stopping them. The caller holds the lock.
func sweep(ctx context.Context, o Options) error {
	all, err := loadRecords()
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.alive() {
			continue
		}
		fmt.Fprintf(o.progress(), "removing what is left of cluster %q, whose owner has died\n", r.Name)
		if err := r.destroy(ctx); err != nil {
			return fmt.Errorf("cluster %q, whose owner has died, cannot be removed: %w", r.Name, err)
		}
	}
	return nil
}
