/** The worker that holds the one connection of all tabs. */
import "@panda/client/worker";
