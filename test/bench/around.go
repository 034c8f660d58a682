// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/test/bench/env"
	"github.com/valetkey/valetkey/test/bench/result"
	"github.com/valetkey/valetkey/test/bench/sample"
	"github.com/valetkey/valetkey/test/bench/timeline"
)

// change is something around the operator that is none of its business, or hardly.
type change struct {
	step string
	n    int
	// make makes one of n objects; undo removes all.
	make func(ctx context.Context, name string) error
	undo func(ctx context.Context) error
}

// beforeAndAfter compares what one grant at a time takes, and the operator's memory, before a change and after it.
func (t *turn) beforeAndAfter(ctx context.Context, c change) error {
	const few = 30
	before, rss, err := t.look(ctx, few)
	if err != nil {
		return err
	}
	names := make([]string, c.n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%s-%d", c.step, t.prefix, i)
	}
	if err := t.each(ctx, names, t.workers, c.make); err != nil {
		return err
	}
	err = t.measure(ctx, measured{step: c.step, n: c.n, workers: 1, while: func(ctx context.Context) (r result.Result, err error) {
		after, rssAfter, err := t.look(ctx, few)
		r.Values = map[string]float64{"p50OfBefore": after.P50 / before.P50, "p99OfBefore": after.P99 / before.P99, "rssOfBefore": rssAfter / rss}
		return r, err
	}})
	return errors.Join(err, c.undo(ctx))
}

// look has a few granted one at a time once the operator rests. It returns how long they took, and the operator's memory before.
func (t *turn) look(ctx context.Context, n int) (q result.Quantiles, rss float64, err error) {
	if _, err := t.awaitRest(ctx); err != nil {
		return q, 0, err
	}
	if rss, err = sample.Resident(t.operator.PID()); err != nil {
		return q, 0, err
	}
	names := t.names(n)
	for _, name := range names {
		if err := t.askWithJob(ctx, name); err != nil {
			return q, 0, err
		}
		if err := t.mustWait(ctx, timeline.PodMade, name); err != nil {
			return q, 0, err
		}
	}
	return result.Of(t.timeline.Between(names, timeline.Asked, timeline.Started)), rss, nil
}

// crowd fills another namespace: held Jobs, Secrets and Pods, a third each.
func (t *turn) crowd(ctx context.Context, n int) error {
	const other = "crowd"
	if err := t.ensureNamespace(ctx, other); err != nil {
		return err
	}
	pod := corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: ptr.To(false),
		Containers: []corev1.Container{{Name: "a", Image: "registry.example.com/a:1"}}}
	kinds := []func(metav1.ObjectMeta) client.Object{
		func(m metav1.ObjectMeta) client.Object {
			return &batchv1.Job{ObjectMeta: m, Spec: batchv1.JobSpec{Suspend: ptr.To(true), Template: corev1.PodTemplateSpec{Spec: pod}}}
		},
		func(m metav1.ObjectMeta) client.Object {
			return &corev1.Secret{ObjectMeta: m, StringData: map[string]string{"a": "b"}}
		},
		func(m metav1.ObjectMeta) client.Object { return &corev1.Pod{ObjectMeta: m, Spec: pod} },
	}
	return t.beforeAndAfter(ctx, change{step: "crowd", n: n,
		make: func(ctx context.Context, name string) error {
			kind := kinds[int(name[len(name)-1])%len(kinds)]
			return t.Admin.Create(ctx, kind(metav1.ObjectMeta{Namespace: other, Name: name}))
		},
		undo: func(ctx context.Context) error {
			var errs []error
			for _, kind := range kinds {
				errs = append(errs, t.Admin.DeleteAllOf(ctx, kind(metav1.ObjectMeta{}), client.InNamespace(other),
					client.GracePeriodSeconds(0), client.PropagationPolicy(metav1.DeletePropagationBackground)))
			}
			return errors.Join(errs...)
		},
	})
}

// roles stores a Role and a RoleBinding elsewhere, of which the operator caches all.
func (t *turn) roles(ctx context.Context, n int) error {
	const other = "roles"
	if err := t.ensureNamespace(ctx, other); err != nil {
		return err
	}
	return t.beforeAndAfter(ctx, change{step: "roles", n: n,
		make: func(ctx context.Context, name string) error {
			m := metav1.ObjectMeta{Namespace: other, Name: name}
			role := &rbacv1.Role{ObjectMeta: m, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}}}}
			binding := &rbacv1.RoleBinding{ObjectMeta: m, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
				Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: other, Name: name}}}
			if err := t.Admin.Create(ctx, role); err != nil {
				return err
			}
			return t.Admin.Create(ctx, binding)
		},
		undo: func(ctx context.Context) error {
			return errors.Join(t.Admin.DeleteAllOf(ctx, &rbacv1.RoleBinding{}, client.InNamespace(other)), t.Admin.DeleteAllOf(ctx, &rbacv1.Role{}, client.InNamespace(other)))
		},
	})
}

// accounts adds ServiceAccounts to the namespace in which requests are made: whether one could read a Secret there has to be found out.
func (t *turn) accounts(ctx context.Context, n int) error {
	label := client.MatchingLabels{"bench": "accounts"}
	return t.beforeAndAfter(ctx, change{step: "accounts", n: n,
		make: func(ctx context.Context, name string) error {
			return t.Admin.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace, Name: name, Labels: label}})
		},
		undo: func(ctx context.Context) error {
			return t.Admin.DeleteAllOf(ctx, &corev1.ServiceAccount{}, client.InNamespace(env.Namespace), label)
		},
	})
}

// policies stores policies about other repositories, as fast as so many clients can, until the operator has said that it knows each. It measures the
// longest that one new request at a time waits meanwhile.
func (t *turn) policies(ctx context.Context, n int) error {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("other-%s-%d", t.prefix, i)
	}
	err := t.measure(ctx, measured{step: "policies", n: n, workers: t.workers, while: func(ctx context.Context) (r result.Result, err error) {
		asking, stop := context.WithCancel(ctx)
		defer stop()
		var asked []string
		var failed error
		var done sync.WaitGroup
		done.Go(func() { asked, failed = t.askUntil(ctx, asking.Done()) })
		begin := time.Now()
		err = t.AwaitPolicies(ctx, names, func(ctx context.Context) error {
			return t.each(ctx, names, t.workers, func(ctx context.Context, name string) error {
				return t.Admin.Create(ctx, env.Policy(name, name, env.Free))
			})
		})
		known := time.Since(begin).Seconds()
		stop()
		done.Wait()
		waits := result.Of(t.timeline.Between(asked, timeline.Asked, timeline.Started))
		r.Latency = t.quantiles(asked, timeline.Asked, onTheWay()...)
		r.Values = map[string]float64{"longestWait": waits.Max / 1000, "known": known, "askedMeanwhile": float64(waits.N)}
		return r, errors.Join(err, failed)
	}})
	return errors.Join(err, t.each(ctx, names, t.workers, t.removePolicy))
}

func (t *turn) removePolicy(ctx context.Context, name string) error {
	return client.IgnoreNotFound(t.Admin.Delete(ctx, env.Policy(name, name, env.Free)))
}

// askUntil asks one at a time until it is told that it is enough, once at least.
func (t *turn) askUntil(ctx context.Context, enough <-chan struct{}) ([]string, error) {
	var asked []string
	for {
		name := t.names(1)[0]
		asked = append(asked, name)
		if err := t.askWithJob(ctx, name); err != nil {
			return asked, err
		}
		if err := t.mustWait(ctx, timeline.Started, name); err != nil {
			return asked, err
		}
		select {
		case <-enough:
			return asked, nil
		default:
		}
	}
}
