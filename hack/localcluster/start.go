// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/valetkey/valetkey/hack/localcluster/supervisor"
)

// start brings the cluster up. What comes first is what others wait for; what waits for nobody runs beside it.
func (c *Cluster) start(ctx context.Context, pauseArchive string) error {
	if err := c.makeDirs(); err != nil {
		return err
	}
	if err := c.boot(); err != nil {
		return err
	}
	var err error
	if c.rec.Slot, err = c.rec.connect(ctx); err != nil {
		return err
	}
	if err := c.rec.save(); err != nil {
		return err
	}
	if err := c.writeFiles(); err != nil {
		return err
	}
	if err := c.startPrograms(etcd, apiServer); err != nil {
		return err
	}
	if c.rec.AWS {
		if err := c.startAWS(ctx); err != nil {
			return err
		}
	}
	if c.rec.Vault {
		if err := c.startVault(ctx); err != nil {
			return err
		}
	}
	if c.rec.Node {
		if err := c.startRuntime(ctx, pauseArchive); err != nil {
			return err
		}
	}
	if err := c.waitAPI(ctx); err != nil {
		return err
	}
	if err := c.publishIssuer(ctx); err != nil {
		return err
	}
	if err := c.startPrograms(controllerManager); err != nil {
		return err
	}
	if c.rec.Node {
		if err := c.startPrograms(kubelet, scheduler); err != nil {
			return err
		}
	}
	return c.WaitReady(ctx)
}

// makeDirs makes the state directory, with the /var that the programs will see.
func (c *Cluster) makeDirs() error {
	for _, dir := range []string{"logs", "pki", "kubeconfig", "cni", "config", "etcd", "aws/iam", "aws/s3", "var/lib", "var/log", "var/cache", "var/tmp"} {
		if err := os.MkdirAll(c.rec.path(dir), 0o700); err != nil {
			return err
		}
	}
	// Containers that are not root's pass through these.
	for dir, mode := range map[string]os.FileMode{"var": 0o755, "var/lib": 0o755, "var/log": 0o755, "var/tmp": 0o777 | os.ModeSticky} {
		if err := os.Chmod(c.rec.path(dir), mode); err != nil {
			return err
		}
	}
	return errors.Join(
		os.Symlink("/run", c.rec.path("var/run")),
		os.WriteFile(c.rec.path("hosts"), nil, 0o644),
	)
}

// boot starts the supervisor in new namespaces and connects to it.
func (c *Cluster) boot() error {
	log, err := os.Create(c.rec.path("logs", nodeinit+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	leash, held, err := newLeash()
	if err != nil {
		return err
	}
	defer held.Close()
	c.leash = leash

	cmd := exec.Command(c.rec.programs().host(nodeinit), "-state", c.rec.StateDir, "-programs", c.rec.BinDir)
	cmd.Stdin, cmd.Stderr = held, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Setsid:     true, // so that an interrupt at the terminal reaches us alone, and we remove the cluster in order
	}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("make the cluster's namespaces: %w; this needs CAP_SYS_ADMIN, which many containers lack", err)
	}
	if c.rec.Supervisor, err = processOf(cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	_, readErr := bufio.NewReader(ready).ReadString('\n')
	go func() { _ = cmd.Wait() }() // how it ends is of no interest, but a zombie would stay
	if readErr != nil {
		return fmt.Errorf("the supervisor did not start: %s", c.log(nodeinit))
	}
	if err := c.rec.save(); err != nil {
		return err
	}
	c.supervisor, err = supervisor.Dial(c.rec.StateDir)
	return err
}

// leash is our end of a pipe, by number: a file would be closed, and the cluster ended, once nobody refers to it.
type leash int

// newLeash returns both ends of a pipe: ours, and the one that the supervisor holds and watches.
func newLeash() (*leash, *os.File, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	ours := leash(ends[1])
	return &ours, os.NewFile(uintptr(ends[0]), "leash"), nil
}

func (l *leash) release() error { return unix.Close(int(*l)) }

func (c *Cluster) startPrograms(names ...string) error {
	for _, name := range names {
		if err := c.StartProgram(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startAWS(ctx context.Context) error {
	if err := c.startPrograms(versitygwIAM); err != nil {
		return err
	}
	// The S3 part asks the IAM part over its socket, and gives up if it is not there yet.
	if err := c.waitHealthy(ctx, versitygwIAM, stsPort); err != nil {
		return err
	}
	return c.startPrograms(versitygwS3)
}

// publishIssuer lets everybody read the issuer's discovery documents, as a cluster that federates must.
func (c *Cluster) publishIssuer(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	const role = "system:service-account-issuer-discovery"
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role + "-public"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:unauthenticated"}},
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	return err
}

func (c *Cluster) waitAPI(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return c.wait(ctx, apiServer, "API server", func(ctx context.Context) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

func (c *Cluster) waitControllers(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return c.wait(ctx, controllerManager, "default ServiceAccount", func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func (c *Cluster) waitNode(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return c.wait(ctx, kubelet, "node", func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, cond := range node.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status != corev1.ConditionTrue {
				return fmt.Errorf("%s: %s", cond.Reason, cond.Message)
			}
		}
		// The taint goes a moment after the condition, and Pods wait for that.
		if len(node.Status.Conditions) == 0 || len(node.Spec.Taints) > 0 {
			return errors.New("it is not open for Pods yet")
		}
		return nil
	})
}

// wait waits for what a program does, and gives up at once if the program ends.
func (c *Cluster) wait(ctx context.Context, program, what string, check func(context.Context) error) error {
	err := eventually(ctx, 2*time.Minute, func(ctx context.Context) error {
		err := check(ctx)
		if err == nil {
			return nil
		}
		programs, listErr := c.supervisor.List()
		if listErr != nil {
			return finalError{"the cluster's supervisor has ended"}
		}
		for _, p := range programs {
			if p.Name == program && !p.Running {
				return finalError{program + " " + p.Exit}
			}
		}
		return err
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("wait for the %s: %w; the end of %s.log:\n%s", what, err, program, c.log(program))
}
