import { render } from 'preact';

const root = document.getElementById('root');
if (root) render(<h1>Claude Code API</h1>, root);
