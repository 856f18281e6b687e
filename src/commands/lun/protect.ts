import { ProtectCommand } from '../../core/cli/protect-command.ts'

export default class LunProtect extends ProtectCommand {
  static override summary = 'Protect a LUN: writes, trims, updates and deletion are refused; images of it can be made'
  static override examples = ['lunar lun protect tank/db', 'lunar lun protect db --pool tank --dry-run']
  protected readonly protect = true
}
