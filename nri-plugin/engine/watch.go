package engine

import (
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"github.com/sirupsen/logrus"
)

// socketWatch tells when the runtime's socket is made. It exists only while there is no connection: a watch on a
// folder like /run would otherwise wake an idle process for other people's files. It is a help and no more; without
// it (no such folder yet, no inotify instance left) the back-off alone finds the socket.
type socketWatch struct {
	appeared chan struct{} // one pending signal at most
	dir      string
	inotify  *fsnotify.Watcher // nil: none to be had
	watching bool
	done     chan struct{}
}

func watchSocket(socket string, log logrus.FieldLogger) *socketWatch {
	w := &socketWatch{appeared: make(chan struct{}, 1), dir: filepath.Dir(socket), done: make(chan struct{})}
	inotify, err := fsnotify.NewWatcher()
	if err != nil {
		log.WithError(err).Debug("cannot watch for the NRI socket, polling only")
		close(w.done)
		return w
	}
	w.inotify = inotify
	go w.filter(filepath.Base(socket))
	w.retry()
	return w
}

// retry watches the folder if it was not there before; true if that is new, for a socket may have come with it.
func (w *socketWatch) retry() bool {
	if w.inotify == nil || w.watching {
		return false
	}
	w.watching = w.inotify.Add(w.dir) == nil
	return w.watching
}

// filter passes on the events that can mean a new socket of our name.
func (w *socketWatch) filter(name string) {
	defer close(w.done)
	for {
		select {
		case event, ok := <-w.inotify.Events:
			if !ok {
				return
			}
			if filepath.Base(event.Name) == name && event.Has(fsnotify.Create|fsnotify.Rename|fsnotify.Chmod) {
				w.signal()
			}
		case _, ok := <-w.inotify.Errors:
			if !ok {
				return
			}
			w.signal() // an overflow may have swallowed our event
		}
	}
}

func (w *socketWatch) signal() {
	select {
	case w.appeared <- struct{}{}:
	default:
	}
}

// close ends the watch and waits for its goroutine.
func (w *socketWatch) close() {
	if w.inotify != nil {
		w.inotify.Close()
	}
	<-w.done
}
