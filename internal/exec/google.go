// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/internal/handover"
)

const (
	// credentialsVariable names the file in which Google's libraries find their credentials.
	credentialsVariable = "GOOGLE_APPLICATION_CREDENTIALS"
	// keep is the argument with which this program keeps a file open for others, and does nothing else.
	keep = "keep"
)

// serveGoogle completes the credentials file for Google's libraries, if the grant delivered one, and serves what they
// ask for until end is called. It returns the command's environment, in which a variable names the completed file, and
// no proxy stands between; it is as it was where there is no such file.
func (h *held) serveGoogle(ctx context.Context, c clock.PassiveClock, environment []string) (
	command []string, end func(), err error) {
	if h.google == nil {
		return environment, func() {}, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", loopback+":0")
	if err != nil {
		return nil, nil, fmt.Errorf("serving Google's libraries on loopback: %w", err)
	}
	// The path keeps others of the Pod, who share its loopback, from finding the service by chance; it holds no secret.
	path := "/" + rand.Text()
	text, err := handover.Complete(h.google, "http://"+listener.Addr().String()+path)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("completing the credentials file: %w", err), listener.Close())
	}
	place, forget, err := keepFile(text)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("completing the credentials file: %w", err), listener.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+path, handover.Handler(c))
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
	}
	go func() { _ = server.Serve(listener) }() // until it is closed
	command = append(reachedDirectly(environment), credentialsVariable+"="+place)
	return command, func() { _ = server.Close(); forget() }, nil
}

// keepFile makes a file that nobody can change, and returns a path at which every process of the container's user can
// read it until forget is called. A folder that can be written to is not needed, and none is safe: /dev/shm, for one,
// belongs to all containers of the Pod. Another container could name a token service of its own in the file, and would
// be sent the token.
//
// The file has no name; it is reached through a process that has it open. That cannot be this process, whose files are
// closed to others.
func keepFile(text []byte) (place string, forget func(), err error) {
	fd, err := unix.MemfdCreate("credentials", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return "", nil, err
	}
	file := os.NewFile(uintptr(fd), "credentials")
	defer func() { _ = file.Close() }()
	if _, err := file.Write(text); err != nil {
		return "", nil, err
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return "", nil, err
	}
	keeper := exec.Command("/proc/self/exe", keep)
	keeper.Env, keeper.ExtraFiles = []string{}, []*os.File{file}
	// A signal from a terminal is for the command.
	keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	until, err := keeper.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	if err := keeper.Start(); err != nil {
		return "", nil, err
	}
	// The first of the extra files is the fourth that a process has.
	return fmt.Sprintf("/proc/%d/fd/3", keeper.Process.Pid), func() { _, _ = until.Close(), keeper.Wait() }, nil
}

// keepOpen is what the process that keeps a file does: it waits for the end of its standard input, which comes with the
// end of whoever started it.
func (o Options) keepOpen() int {
	_, err := io.Copy(io.Discard, o.Stdin)
	return o.report(err, exitFailed)
}
