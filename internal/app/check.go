// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/config"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/internal/live"
)

// checkTime bounds a check: whoever waits for it is about to install or remove something.
const checkTime = 30 * time.Second

// Check says of each thing that an installation needs whether it is there, as the operator's ServiceAccount sees it. Of the operator's
// flags it takes those that say where it works. It returns the process's exit code: 0 when all is well, 1 when something is not, 2 when the flags are wrong.
func Check(ctx context.Context, args []string, stdout, stderr io.Writer, clock clock.PassiveClock) int {
	return inquire(ctx, args, stdout, stderr, clock, inquiry.works)
}

// CheckRemoval lists the grants that nobody would end, or let go, if the operator were removed now. The exit code is 0 if there are none, 1 if there
// are, or if that cannot be found out, and 2 when the flags are wrong.
func CheckRemoval(ctx context.Context, args []string, stdout, stderr io.Writer, clock clock.PassiveClock) int {
	return inquire(ctx, args, stdout, stderr, clock, inquiry.mayBeRemoved)
}

func inquire(ctx context.Context, args []string, stdout, stderr io.Writer, clock clock.PassiveClock, ask func(inquiry, context.Context) error) int {
	o, err := parseWhere(args)
	o.clock = clock
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%v\nthe flags are the operator's own that say where it works: manager --help lists them\n", err)
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	i, err := newInquiry(o, stdout)
	if err == nil {
		err = ask(i, ctx)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// inquiry looks at a cluster without a cache.
type inquiry struct {
	o       options
	clients kubernetes.Interface
	reader  client.Client
	to      io.Writer
}

func newInquiry(o options, to io.Writer) (inquiry, error) {
	i := inquiry{o: o, to: to}
	config, err := clusterConfig()
	if err != nil {
		return i, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return i, err
	}
	if i.clients, err = kubernetes.NewForConfig(config); err != nil {
		return i, err
	}
	i.reader, err = client.New(config, client.Options{Scheme: scheme})
	return i, err
}

func (i inquiry) works(ctx context.Context) error {
	var problems []error
	for _, c := range []struct {
		what  string
		check func(context.Context) error
	}{
		{"identity", func(ctx context.Context) error { return checkIdentity(ctx, i.clients) }},
		{"job-controller", func(ctx context.Context) error { return checkJobController(ctx, i.clients) }},
		{"rights", i.entitled},
		{"admission rules", i.guarded},
		{"leader", i.led},
	} {
		err := c.check(ctx)
		if err == nil {
			_, _ = fmt.Fprintf(i.to, "ok    %s\n", c.what)
			continue
		}
		_, _ = fmt.Fprintf(i.to, "FAIL  %s: %v\n", c.what, err)
		problems = append(problems, fmt.Errorf("%s: %w", c.what, err))
	}
	return errors.Join(problems...)
}

// entitled: it has its rights wherever it is to work.
func (i inquiry) entitled(ctx context.Context) error {
	served, err := checkWatched(ctx, i.clients, i.o, logr.Discard())
	if err == nil && len(served) < len(i.o.watchNamespaces) {
		err = fmt.Errorf("of the namespaces to watch, these alone are there: %s; make the others and start the operator anew, or take their flags away", strings.Join(served, ", "))
	}
	return err
}

// guarded compares the admission rules with those inside the program, and sees that they refuse something.
func (i inquiry) guarded(ctx context.Context) error {
	checker, err := guard.New(config.Admission, i.reader, i.reader, i.o.identitiesNamespace)
	if err != nil {
		return err
	}
	status, err := checker.Check(ctx)
	if err != nil {
		return err
	}
	if !status.Whole() {
		return errors.New(status.Message())
	}
	problem, err := checker.Probe(ctx)
	if problem != "" {
		err = errors.New(problem)
	}
	return err
}

// led: somebody holds the lease, and goes on renewing it. It waits for that while there is time: replicas are ready before one of them leads, and
// another takes over once the lease of one that died is over.
func (i inquiry) led(ctx context.Context) error {
	leases := i.clients.CoordinationV1().Leases(i.o.namespace)
	lease, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("looking for the lease %s in namespace %s: %w", leaseName, i.o.namespace, err)
	}
	unled := i.unled(lease)
	if unled == nil {
		return nil
	}
	only := metav1.SingleObject(metav1.ObjectMeta{Name: leaseName, ResourceVersion: lease.ResourceVersion})
	watching, err := leases.Watch(ctx, only)
	if err != nil {
		return fmt.Errorf("%w, and that cannot be waited for: %w", unled, err)
	}
	defer watching.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: look at the replicas' logs", unled)
		case e, ok := <-watching.ResultChan():
			lease, is := e.Object.(*coordinationv1.Lease)
			if !ok || !is {
				return fmt.Errorf("%w, and what was waited for is no longer told: look at the replicas' logs", unled)
			}
			if unled = i.unled(lease); unled == nil {
				return nil
			}
		}
	}
}

// unled says why nobody leads who holds this lease, or nil.
func (i inquiry) unled(lease *coordinationv1.Lease) error {
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return errors.New("no replica leads")
	}
	if until := spec.RenewTime.Add(time.Duration(*spec.LeaseDurationSeconds) * time.Second); !until.After(i.o.clock.Now()) {
		return fmt.Errorf("%s led until %s, and nobody has led since", *spec.HolderIdentity, until.UTC().Format(time.RFC3339))
	}
	return nil
}

// mayBeRemoved lists what lives in the namespaces that are watched.
func (i inquiry) mayBeRemoved(ctx context.Context) error {
	namespaces := i.o.watchNamespaces
	if len(namespaces) == 0 {
		namespaces = []string{corev1.NamespaceAll}
	}
	living, held, last := 0, 0, time.Time{}
	for _, namespace := range namespaces {
		err := live.New(i.reader).Each(ctx, &v1alpha1.CapabilityGrantList{}, func(object client.Object) bool {
			g, is := object.(*v1alpha1.CapabilityGrant), ""
			switch {
			case g.Status.EndedAt == nil:
				living++
				is = until(g)
			case slices.Contains(g.Finalizers, v1alpha1.FinalizerRevoke):
				held++
				is, last = "has ended", later(last, g.Status.CredentialExpiresAt)
				if g.DeletionTimestamp != nil && g.StillWorks(i.o.clock.Now()) {
					is += ", is deleted, and is counted by a limit until " + g.Status.CredentialExpiresAt.UTC().Format(time.RFC3339)
				}
			default:
				return true
			}
			_, _ = fmt.Fprintf(i.to, "%s/%s: capability %s, %s\n", g.Namespace, g.Name, g.Spec.Capability, is)
			return true
		}, client.InNamespace(namespace))
		if err != nil {
			return fmt.Errorf("listing grants: %w", err)
		}
	}
	var errs error
	if living > 0 {
		errs = fmt.Errorf("%d grants live, and nobody would end them without the operator: kubectl valetkey revoke --all -A --reason WHY, or wait; nothing was removed", living)
	}
	if held > 0 {
		errs = errors.Join(errs, fmt.Errorf("%d grants have ended and carry the finalizer %s, which the operator removes "+
			"once what was issued has expired, or when they are deleted and no limit of their policy counts them: "+
			"kubectl delete capreq --all -A, or wait until %s; nothing was removed",
			held, v1alpha1.FinalizerRevoke, last.UTC().Format(time.RFC3339)))
	}
	if errs != nil {
		return errs
	}
	_, _ = fmt.Fprintln(i.to, "no grant needs the operator")
	return nil
}

func later(a time.Time, b *metav1.Time) time.Time {
	if b != nil && b.After(a) {
		return b.Time
	}
	return a
}

func until(g *v1alpha1.CapabilityGrant) string {
	if g.Status.ExpiresAt == nil {
		return "not issued yet"
	}
	return "until " + g.Status.ExpiresAt.UTC().Format(time.RFC3339)
}
