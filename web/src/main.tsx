import { render } from 'preact';
import './style.css';
import './theme';
import { App } from './app';

const root = document.getElementById('root');
if (root) render(<App />, root);
