// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/clock"
)

// leaseName is the lease of whoever leads.
const leaseName = "valetkey"

// lease is the lock of whoever leads. Candidates look at it every quarter of a second, so that one that is given back is soon taken. By the
// same beat a leader would renew it, which is of no use to anybody: it is stored anew once in a while.
type lease struct {
	resourcelock.Interface
	clock clock.PassiveClock
	// every is how long what was stored of a leader is left as it is. A leader whose renewals fail gives up after two thirds of the lease;
	// with this on top, that is still before another may take it.
	every time.Duration
	// holder is whom this process stored last, and at is when it did.
	holder string
	at     time.Time
}

func newLease(config *rest.Config, o options, renewDeadline time.Duration) (*lease, error) {
	config = rest.CopyConfig(config)
	config.Timeout = max(renewDeadline/2, time.Second) // no request that hangs loses the lease
	client, err := coordinationv1client.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("looking up the name by which a leader is known: %w", err)
	}
	return &lease{clock: o.clock, every: o.leaseDuration / 7, Interface: &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: leaseName}, Client: client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())}}}, nil
}

// Update implements [resourcelock.Interface].
func (l *lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == l.holder && l.holder == l.Identity() && l.clock.Since(l.at) < l.every {
		return nil
	}
	return l.store(ctx, record, l.Interface.Update)
}

// Create implements [resourcelock.Interface].
func (l *lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.store(ctx, record, l.Interface.Create)
}

func (l *lease) store(ctx context.Context, record resourcelock.LeaderElectionRecord, by func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	l.holder, l.at = record.HolderIdentity, l.clock.Now() // from then on it may be stored, whenever the answer comes
	err := by(ctx, record)
	if err != nil {
		l.holder = ""
	}
	return err
}
